"""Reading token shards back for training: `TokenDataset`, and what serves it alone."""

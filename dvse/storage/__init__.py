"""What lies on disk: bundles, parts, weights, token shards, and how each is proved whole."""

"""Well-known published tokenizers by name: fetched, checked, converted and kept as bundles."""

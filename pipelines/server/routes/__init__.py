"""One file a family of endpoints, each with a `router`."""

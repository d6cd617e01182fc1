"""The decoder of `tiny` on continuous features, to see what going discrete costs."""

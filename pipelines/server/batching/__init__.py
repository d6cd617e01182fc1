"""Continuous batching: requests join and leave the running batch at every step."""

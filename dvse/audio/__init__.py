"""Recordings ↔ codes: decoding, resampling, windows, speech encoders and their codebooks."""

"""Speech encoders and their units."""

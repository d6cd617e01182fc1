"""Speech to train and judge on: made by espeak, read from folders, joined, disturbed."""

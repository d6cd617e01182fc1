"""What is true of any codebook: how it is fitted, used, and where codes lie too close."""

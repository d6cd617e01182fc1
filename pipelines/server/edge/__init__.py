"""A small model here, a large one elsewhere: only ids travel between them."""

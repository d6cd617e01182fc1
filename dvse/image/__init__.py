"""Pictures to codes and back. Knows nothing of text, audio or ids."""

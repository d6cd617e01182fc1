"""The server: OpenAI-compatible endpoints over a decoder, and a page to try them."""

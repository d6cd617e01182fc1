"""Requests and answers as pydantic models: what the OpenAPI page shows is what is checked."""

"""The client of an OpenAI-compatible server that someone already runs; docs/endpoints.md tells which and how."""

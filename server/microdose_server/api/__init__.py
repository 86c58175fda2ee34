"""The HTTP API: one module per resource, problem+json for every error, no state but Redis and the disk."""

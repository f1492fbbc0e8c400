"""`tokenvend login`, `creds` and `logout`: a client of the HTTP API. It imports nothing of the service."""

"""`tokenvend login`, `creds` and `logout`: a client of the HTTP API that knows nothing of the server beside it."""

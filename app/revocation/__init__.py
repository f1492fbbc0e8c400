"""Which credentials are revoked, and how the engine is told."""

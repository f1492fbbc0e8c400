"""Jobs that use a credential of their own, and the health of the service."""

"""Jobs that borrow a credential, and the health of the service."""

"""Authentication: sign-in, sessions with rotating refresh tokens, access tokens and the keys that sign them."""

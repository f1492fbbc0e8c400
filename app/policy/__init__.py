"""Policies as pure text: what a session policy says, how much fits into it, and what a role allows."""

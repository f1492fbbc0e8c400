"""Policies as pure text: what a session policy says, what a role allows, what fits into one."""

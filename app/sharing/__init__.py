"""Folders that a user shares with others."""

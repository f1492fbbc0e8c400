"""Who the users are: registration, profile."""

"""User accounts: registration, passwords, e-mail addresses, profile and export."""

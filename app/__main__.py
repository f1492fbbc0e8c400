"""`python -m app` is the `tokenvend` command."""

from app.cli import main

main()

"""`python -m app.client`: these commands alone, without the half of the server that `tokenvend` imports."""

from app.client.commands import client

client(prog_name="tokenvend")

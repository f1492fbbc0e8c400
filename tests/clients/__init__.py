"""Each S3 client that people use, with vended credentials: `make clients` drives them, and writes docs/app/clients.md.

`tools.py` has the table of clients, `acts.py` what each of them does, `home.py` the person at whose place it does it.
"""

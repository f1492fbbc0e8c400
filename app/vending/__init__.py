"""The heart: a session policy for one prefix, the credential that STS issues for it, and the ledger of all of them."""

"""The core of the service: it turns a session policy for one prefix into a credential of STS, and keeps the ledger."""

"""Mails: a transaction writes them to the outbox, and a worker sends them from there."""

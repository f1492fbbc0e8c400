"""Mails: written to the outbox with what they tell of, sent from it by a worker."""

"""What the people who run the app see and do: users, audit, keys. Support reads, signs out and sends resets."""

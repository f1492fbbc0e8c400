"""The tables, and rules about their rows that several features share."""

"""The tables, and the rules about a row that several features share."""

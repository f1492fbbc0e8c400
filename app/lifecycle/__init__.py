"""Everything that ends when an account ends."""

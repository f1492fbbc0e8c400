"""All that ends when an account ends."""

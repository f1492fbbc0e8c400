"""Keys, hashes, signatures and strict JSON. No other package imports a hashing or JOSE library."""

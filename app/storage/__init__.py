"""What a user stores, as far as no credential is needed to know it."""

"""What a user stores: the quota, and the bucket's events. Nothing here needs a credential."""

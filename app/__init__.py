"""tokenvend: vends short-lived S3 credentials to the users of a mobile app, each for their own prefix."""

"""Calls to AWS: STS, S3, SNS and RDS."""

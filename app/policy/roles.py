"""What the vending role allows. No session policy can allow more."""

from collections.abc import Mapping
from typing import Any

from app.policy.session_policy import Bucket


def role_policy(bucket: Bucket) -> Mapping[str, Any]:
    """The policy that `deploy/aws` gives the vending role."""
    statements: list[Mapping[str, Any]] = [
        {
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": list(bucket.object_actions("read_write")),
            "Resource": f"{bucket.arn}/users/*",
        },
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
            "Resource": bucket.arn,
            "Condition": {"StringLike": {"s3:prefix": "users/*"}},
        },
    ]
    if bucket.location:
        statements.append(
            {"Sid": "Location", "Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": bucket.arn}
        )
    if bucket.encryption is not None:
        statements.append(
            {
                "Sid": "Encryption",
                "Effect": "Allow",
                "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                "Resource": bucket.encryption.key_arn,
                "Condition": {
                    "StringEquals": {"kms:ViaService": bucket.encryption.via_service},
                    "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket.arn, f"{bucket.arn}/users/*"]},
                },
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}

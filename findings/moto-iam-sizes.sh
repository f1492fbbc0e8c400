#!/usr/bin/env bash
# moto 5.2.5 with boto3 1.44.8: which of IAM's quotas a test on moto meets.
# Expected: all or none. AWS refuses a fifth version beside the default of a managed policy, a managed policy of more than 6,144
# characters, inline policies of a role of more than 10,240 together, and an eleventh managed policy of a role.
# Seen: moto keeps the first (LimitExceeded at the sixth version) and accepts the other three.
# So a test on moto that writes growing policies shows that old versions are deleted, and never that a document fits.
# AWS's numbers: IAM and AWS STS quotas, in the IAM User Guide.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'moto[iam]==5.2.5' 'boto3==1.44.8'
AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example "$folder/venv/bin/python" - <<'PY'
import json

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws


def document(characters):
    """A valid deny policy of about that length."""
    names = [f"*:{number:040d}" for number in range(characters // 45)]
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"aws:userid": names}}}
    return json.dumps({"Version": "2012-10-17", "Statement": [deny]}, separators=(",", ":"))


with mock_aws():
    iam = boto3.client("iam", "us-east-1")
    iam.create_role(RoleName="vending", AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
    iam.put_role_policy(RoleName="vending", PolicyName="inline", PolicyDocument=document(15_000))
    arn = iam.create_policy(PolicyName="managed", PolicyDocument=document(9_000))["Policy"]["Arn"]
    for number in range(12):
        made = iam.create_policy(PolicyName=f"beside{number}", PolicyDocument=document(100))
        iam.attach_role_policy(RoleName="vending", PolicyArn=made["Policy"]["Arn"])
    attached = len(iam.list_attached_role_policies(RoleName="vending")["AttachedPolicies"])
    versions, refused = 1, ""
    while not refused:
        try:
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(9_000 + versions), SetAsDefault=True)
            versions += 1
        except ClientError as error:
            refused = error.response["Error"]["Code"]
print(f"inline {len(document(15_000)):,} and managed {len(document(9_000)):,} characters: accepted")
print(f"managed policies of one role: {attached}")
print(f"versions of one policy: {versions}, then {refused}")
assert (attached, versions, refused) == (12, 5, "LimitExceeded")
PY

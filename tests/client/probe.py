"""What boto3 does with nothing but its default chain: arguments bucket, own prefix, foreign prefix."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

bucket, own, foreign = sys.argv[1:]
s3 = boto3.client("s3")
s3.put_object(Bucket=bucket, Key=f"{own}by-boto3", Body=b"picture")
listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=own)["Contents"]]
try:
    refusal = str(s3.list_objects_v2(Bucket=bucket, Prefix=foreign))
except ClientError as error:
    refusal = error.response["Error"]["Code"]
print(json.dumps({"own": listed, "foreign": refusal}))

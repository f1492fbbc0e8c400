#!/usr/bin/env bash
# moto 5.2.5 with boto3 1.44.8: the inline policy of a role that a CloudFormation stack makes.
# Expected: GetRolePolicy gives the JSON that was written, without the statement that `AWS::NoValue` takes out, as in CloudFormation.
# Seen: the document comes back as Python's text of a dict, with single quotes, so boto3 does not read it; and the statement is None.
# `AWS::NoValue` as a member's value is left out. A test that reads policies of a stack has to undo both, or compares nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'moto[cloudformation,iam]==5.2.5' boto3==1.44.8
AWS_EC2_METADATA_DISABLED=true "$folder/venv/bin/python" - <<'PY'
import ast
import json

import boto3
from moto import mock_aws

nothing = {"Ref": "AWS::NoValue"}
read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
statements = [
    read | {"Condition": {"Fn::If": ["Never", {"Bool": {"aws:SecureTransport": "true"}}, nothing]}},
    {"Fn::If": ["Never", read, nothing]},
]
role = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []},
        "Policies": [{"PolicyName": "read", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}],
    },
}
template = {"Conditions": {"Never": {"Fn::Equals": ["a", "b"]}}, "Resources": {"Role": role}}
with mock_aws():
    session = boto3.Session("AKIAEXAMPLE", "example", region_name="eu-central-1")
    session.client("cloudformation").create_stack(
        StackName="one", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"]
    )
    iam = session.client("iam")
    name = iam.list_roles()["Roles"][0]["RoleName"]
    document = iam.get_role_policy(RoleName=name, PolicyName="read")["PolicyDocument"]
print(f"GetRolePolicy: {document!r}")
assert isinstance(document, str)
assert ast.literal_eval(document)["Statement"] == [read, None]
PY

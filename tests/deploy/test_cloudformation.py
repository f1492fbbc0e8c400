"""The templates, made for real in an account that moto keeps: what is there afterwards is what the service needs."""

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from parliament import analyze_policy_string

from app.credentials.identity_token import AUDIENCE, ISSUER_PATH, SUBJECT
from app.credentials.policy import OBJECT_ACTIONS
from app.settings import PREFIX, Settings
from tests.deploy.reading import DEPLOY

AWS = DEPLOY / "aws"
BUCKET = "photos-of-tests"
EXTERNAL_ID = "external-id-of-tests-0123456789"
REGION = "eu-central-1"


class Account:
    def __init__(self) -> None:
        self.session = boto3.Session("AKIATESTTESTTEST", "test", region_name=REGION)
        self.iam = self.session.client("iam")
        self.s3 = self.session.client("s3")
        self.id = self.session.client("sts").get_caller_identity()["Account"]

    def make(self, template: str, **parameters: str) -> dict[str, str]:
        """The outputs of a stack of the template. Without `Fn::Sub`'s text form moto keeps a policy as it is."""
        client = self.session.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        client.create_stack(
            StackName="tests",
            TemplateBody=(AWS / template).read_text(),
            Parameters=given,
            Capabilities=["CAPABILITY_IAM"],
        )
        (stack,) = client.describe_stacks(StackName="tests")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def trust(self, role: str) -> dict[str, Any]:
        document: dict[str, Any] = self.iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        return document

    def inline(self, role: str) -> dict[str, dict[str, Any]]:
        names = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        return {name: self.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names}

    def managed(self, role: str) -> list[dict[str, Any]]:
        attached = self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return [
            self.iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId="v1")["PolicyVersion"]["Document"]
            for policy in attached
        ]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with mock_aws():
        yield Account()


def by_hand(name: str, **filled_in: str) -> dict[str, Any]:
    """A policy of `deploy/aws/`, with its capitals filled in."""
    text = (AWS / name).read_text()
    for capitals, value in filled_in.items():
        text = text.replace(capitals.replace("_", "-"), value)
    document: dict[str, Any] = json.loads(text)
    return document


def role_name(arn: str) -> str:
    return arn.rpartition("/")[2]


def storage(account: Account, **parameters: str) -> dict[str, str]:
    return account.make("storage.yaml", BucketName=BUCKET, ExternalId=EXTERNAL_ID, **parameters)


class TestStorage:
    def test_the_vended_role_is_what_the_policies_by_hand_say(self, account: Account) -> None:
        made = storage(account)
        role = role_name(made["VendedRoleArn"])
        trust = by_hand(
            "vending-role-trust.json",
            ACCOUNT=account.id,
            SERVICE_ROLE=role_name(made["ServiceRoleArn"]),
            EXTERNAL_ID=EXTERNAL_ID,
        )
        assert account.trust(role) == trust
        assert account.managed(role) == [by_hand("vending-role-permissions.json", BUCKET=BUCKET)]
        assert account.inline(role) == {}

    def test_the_services_role_may_vend_and_nothing_else(self, account: Account) -> None:
        made = storage(account)
        (policy,) = account.inline(made["ServiceRoleName"]).values()
        (statement,) = policy["Statement"]
        assert statement["Action"] == ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
        assert statement["Resource"] == made["VendedRoleArn"]
        assert account.managed(made["ServiceRoleName"]) == []

    def test_revocation_adds_three_actions_on_the_vended_role(self, account: Account) -> None:
        made = storage(account, Revocation="role_policy")
        (statement,) = account.inline(made["ServiceRoleName"])["revoke"]["Statement"]
        assert statement["Action"] == ["iam:DeleteRolePolicy", "iam:GetRolePolicy", "iam:PutRolePolicy"]
        assert statement["Resource"] == made["VendedRoleArn"]

    def test_a_key_adds_its_policy(self, account: Account) -> None:
        key = f"arn:aws:kms:{REGION}:{account.id}:key/1234"
        made = storage(account, KmsKeyArn=key)
        expected = by_hand("vending-role-permissions-kms.json", REGION=REGION, ACCOUNT=account.id, KMS_KEY_ID="1234")
        assert expected in account.managed(role_name(made["VendedRoleArn"]))
        (rule,) = account.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}

    def test_web_identity_makes_no_role_to_assume(self, account: Account) -> None:
        made = storage(account, VendingMode="web_identity")
        assert "VendedRoleArn" not in made
        assert account.inline(made["ServiceRoleName"]) == {}

    def test_the_bucket_is_private_encrypted_and_cleans_up(self, account: Account) -> None:
        storage(account)
        policy = json.loads(account.s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
        assert {statement["Effect"] for statement in policy["Statement"]} == {"Deny"}
        assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        closed = account.s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
        assert len(closed) == 4
        assert all(closed.values())
        (rule,) = account.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert account.s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
        assert account.iam.list_users()["Users"] == []


class TestWebIdentity:
    def test_trusts_the_issuer_for_one_audience_and_subject(self, account: Account) -> None:
        issuer = "tokens.example.org" + ISSUER_PATH
        made = account.make("web-identity.yaml", Issuer=issuer, BucketName=BUCKET)
        role = role_name(made["VendedRoleArn"])
        trust = by_hand("vending-role-trust-web-identity.json", ACCOUNT=account.id, HOST="tokens.example.org")
        assert account.trust(role) == trust
        assert trust["Statement"][0]["Condition"] == {
            "StringEquals": {f"{issuer}:aud": AUDIENCE, f"{issuer}:sub": SUBJECT}
        }
        assert account.managed(role) == [by_hand("vending-role-permissions.json", BUCKET=BUCKET)]
        (provider,) = account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        known = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
        assert known["ClientIDList"] == [AUDIENCE]

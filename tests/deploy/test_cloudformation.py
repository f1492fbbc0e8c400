"""The templates, made for real in an account that moto keeps: what is there afterwards is what the service needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.crypto import rsa_keys
from app.platform.page_access import EXPOSED_HEADERS
from app.policy.roles import role_policy
from app.policy.session_policy import Bucket
from app.vending import saml_metadata
from app.vending.assertion import RELYING_PARTIES
from app.vending.identity_token import AUDIENCE, ISSUER_PATH, SUBJECT
from app.vending.saml_metadata import issuer_of
from tests.deploy.templates import (
    ARNS,
    AWS,
    BUCKET,
    EXTERNAL_ID,
    REGION,
    breaks_a_rule,
    chosen,
    decoded,
    references,
    resolved,
    resources,
    statements,
)
from tests.policy.iam import allowed

pytestmark = pytest.mark.all


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
        name = template.removesuffix(".yaml")
        client.create_stack(
            StackName=name,
            TemplateBody=(AWS / template).read_text(),
            Parameters=given,
            Capabilities=["CAPABILITY_IAM"],
        )
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
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
    """moto keeps AWS::NoValue in a list as null; CloudFormation leaves it out, and so does this."""
    from moto import mock_aws  # noqa: PLC0415 - seconds, in each process that collects tests
    from moto.cloudformation import parsing  # noqa: PLC0415

    clean = parsing.clean_json

    def leave_out(value: Any, known: Any) -> Any:
        found = clean(value, known)
        return [part for part in found if part is not None] if isinstance(found, list) else found

    monkeypatch.setattr(parsing, "clean_json", leave_out)
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


def may_revoke(account: Account, role: str, boundary: str, denials: str) -> dict[str, Any]:
    """`denials`: the output `RevocationPolicyArns`."""
    names = {f"VENDING_DENIALS_{number}": role_name(arn) for number, arn in enumerate(denials.split(","), 1)}
    return by_hand(
        "service-permissions-revocation.json",
        ACCOUNT=account.id,
        VENDING_ROLE=role,
        VENDING_BOUNDARY=role_name(boundary),
        **names,
    )


def of_policies(template: str, *names: str) -> list[dict[str, Any]]:
    """Statements of the managed policies of a template, its functions resolved."""
    found = resources(template)
    parts = [resolved(found[name]["Properties"]["PolicyDocument"], ARNS) for name in names]
    return [statement for part in parts for statement in part["Statement"]]


def document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


DENIALS = [f"VendedDenials{number}" for number in range(1, 6)]
VENDING = ["storage.yaml", "web-identity.yaml", "saml.yaml"]


@pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")  # moto knows none
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

    def test_tags_and_region_add_what_the_settings_need(self, account: Account) -> None:
        role = role_name(storage(account, ObjectTags="write", BucketLocation="on")["VendedRoleArn"])
        (made,) = account.managed(role)
        wanted = role_policy(Bucket("aws", BUCKET, tags="write", location=True))
        for document in (made, wanted):
            document["Statement"][0]["Action"].sort()
        assert made == wanted

    def test_the_services_role_may_vend_and_nothing_else(self, account: Account) -> None:
        made = storage(account)
        policies = account.inline(made["ServiceRoleName"])
        assert policies.keys() == {"ask", "vend"}
        (statement,) = policies["vend"]["Statement"]
        assert statement["Action"] == ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
        assert statement["Resource"] == made["VendedRoleArn"]
        assert account.managed(made["ServiceRoleName"]) == []

    def test_revocation_adds_six_actions_on_the_vended_role_and_its_denials(self, account: Account) -> None:
        made = storage(account, Revocation="role_policy")
        role = role_name(made["VendedRoleArn"])
        boundary = account.iam.get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        denials = made["RevocationPolicyArns"]
        assert account.inline(made["ServiceRoleName"])["revoke"] == may_revoke(account, role, boundary, denials)
        empty = by_hand("vending-role-denials.json")
        allowed = by_hand("vending-role-permissions.json", BUCKET=BUCKET)
        assert sorted(account.managed(role), key=str) == sorted([allowed, *[empty] * 5], key=str)
        for arn in denials.split(","):
            held = account.iam.list_entities_for_policy(PolicyArn=arn)
            assert [one["RoleName"] for one in held["PolicyRoles"]] == [role]
            assert held["PolicyUsers"] == held["PolicyGroups"] == []

    @pytest.mark.parametrize("template", VENDING)
    def test_the_vended_role_reaches_no_more_than_before_whatever_is_written_into_it(self, template: str) -> None:
        found = resources(template)

        def of(*names: str) -> list[dict[str, Any]]:
            return [part for name in names for part in found[name]["Properties"]["PolicyDocument"]["Statement"]]

        bound = of("VendedBoundary")
        _, with_key, none = bound[-1]["Resource"].pop("Fn::If")
        assert none["Fn::Sub"].endswith(":key/none")
        bound[-1]["Resource"] = with_key
        assert bound == of("VendedObjects", "VendedKey")

    @pytest.mark.parametrize("template", VENDING)
    def test_an_allow_in_the_denials_gives_nothing_beyond_the_boundary(self, template: str) -> None:
        """VC11: whoever has taken the service over may write any version. The role's boundary and its session hold."""
        boundary = document(of_policies(template, "VendedBoundary"))
        everything = document([{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        objects = f"arn:aws:s3:::{BUCKET}/users/x/y.jpg"
        for action, resource in (
            ("s3:GetObject", "arn:aws:s3:::another/users/x/y.jpg"),
            ("s3:GetObject", f"arn:aws:s3:::{BUCKET}/of-others"),
            ("s3:DeleteObjectVersion", objects),
            ("s3:PutBucketPolicy", f"arn:aws:s3:::{BUCKET}"),
            ("iam:CreatePolicyVersion", ARNS["VendedDenials1"]),
            ("iam:DeleteRolePermissionsBoundary", ARNS["VendedRole"]),
            ("sts:AssumeRole", ARNS["VendedRole"]),
        ):
            assert allowed(everything, action, resource)
            assert not allowed(boundary, action, resource)
        assert allowed(boundary, "s3:GetObject", objects)
        assert resources(template)["VendedRole"]["Properties"]["PermissionsBoundary"]["Fn::If"][:2] == [
            "Revokes",
            {"Ref": "VendedBoundary"},
        ]

    @pytest.mark.parametrize("template", VENDING)
    def test_the_service_may_do_nothing_else_with_policies(self, template: str) -> None:
        """VC11: by the evaluator, each action of IAM's that could widen what a policy or a role does."""
        found = resources(template)["ServiceMayRevoke"]["Properties"]
        assert found["Roles"] in (
            [{"Ref": "ServiceRole"}],
            [{"Fn::ImportValue": {"Fn::Sub": "${StorageStack}-ServiceRoleName"}}],
        )
        revoke = resolved(found["PolicyDocument"], ARNS)
        for statement in revoke["Statement"]:
            statement.pop("Condition", None)  # the evaluator knows no ArnEquals; without it more is allowed
        versions = ["iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:ListPolicyVersions"]
        others = ["AttachRolePolicy", "DetachRolePolicy", "CreatePolicy", "DeletePolicy", "SetDefaultPolicyVersion"]
        others += ["PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary", "UpdateAssumeRolePolicy", "PassRole"]
        mine = [ARNS[name] for name in DENIALS]
        for resource in (*mine, ARNS["VendedBoundary"], ARNS["VendedRole"], "arn:aws:iam::123456789012:policy/other"):
            assert not any(allowed(json.dumps(revoke), f"iam:{action}", resource) for action in others)
            for action in versions:
                assert allowed(json.dumps(revoke), action, resource) is (resource in mine)

    @pytest.mark.parametrize("template", VENDING)
    def test_the_denials_are_the_vended_roles_alone_and_deny_alone(self, template: str) -> None:
        """CloudFormation writes them once: a change to a document here would undo what was revoked."""
        found = resources(template)
        for name in DENIALS:
            properties = found[name]["Properties"]
            assert found[name]["Condition"] == "Revokes"
            assert properties.keys() == {"Description", "Roles", "PolicyDocument"}
            assert properties["Roles"] == [{"Ref": "VendedRole"}]
            assert properties["PolicyDocument"] == by_hand("vending-role-denials.json")
        attached = [part for part in found.values() if part["Type"] == "AWS::IAM::ManagedPolicy"]
        held = [part for part in attached if "Roles" in part["Properties"]]
        assert len(held) == len(DENIALS) + 2  # of ten that IAM attaches to a role
        arns = decoded(template)["Outputs"]["RevocationPolicyArns"]
        assert arns["Value"] == {"Fn::Join": [",", [{"Ref": name} for name in DENIALS]]}

    def test_a_key_adds_its_policy(self, account: Account) -> None:
        key = f"arn:aws:kms:{REGION}:{account.id}:key/1234"
        made = storage(account, KmsKeyArn=key)
        expected = by_hand(
            "vending-role-permissions-kms.json", REGION=REGION, ACCOUNT=account.id, KMS_KEY_ID="1234", BUCKET=BUCKET
        )
        assert expected in account.managed(role_name(made["VendedRoleArn"]))
        (rule,) = account.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}

    def test_web_identity_makes_no_role_to_assume(self) -> None:
        conditions = {name: resource.get("Condition") for name, resource in resources("storage.yaml").items()}
        assert conditions == {
            **dict.fromkeys(("Bucket", "BucketPolicy", "ServiceRole", "ServiceMayAsk")),
            **dict.fromkeys(("EventsKey", "Events", "EventsPolicy"), "TellsEvents"),
            "EventsDelivery": "DeliversEvents",
            **dict.fromkeys(("ServiceMayVend", "VendedRole", "VendedObjects"), "AssumesRole"),
            **dict.fromkeys(("ServiceMayRevoke", "VendedBoundary", *DENIALS), "Revokes"),
            "VendedKey": "VendsWithKey",
        }

    def test_the_bucket_is_private_and_encrypted(self, account: Account) -> None:
        storage(account)
        (rule,) = account.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert account.iam.list_users()["Users"] == []
        # What moto's CloudFormation passes over.
        found = resources("storage.yaml")
        bucket = found["Bucket"]["Properties"]
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        policy = found["BucketPolicy"]["Properties"]["PolicyDocument"]
        without = chosen(policy["Statement"], {"HasCdn": False})
        assert {statement["Effect"] for statement in without} == {"Deny"}
        assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_the_bucket_lets_pages_in_and_cleans_up_as_the_files_by_hand_say(self) -> None:
        bucket = resources("storage.yaml")["Bucket"]["Properties"]
        (cors,) = by_hand("bucket-cors.json")["CORSRules"]
        (made,) = bucket["CorsConfiguration"]["CorsRules"]
        assert tuple(cors["ExposeHeaders"]) == EXPOSED_HEADERS
        more = {"Fn::If": ["ExposesMore", {"Ref": "MoreExposedHeaders"}, {"Ref": "AWS::NoValue"}]}
        assert made == {
            "AllowedOrigins": {"Ref": "AllowedOrigins"},
            "AllowedMethods": cors["AllowedMethods"],
            "AllowedHeaders": cors["AllowedHeaders"],
            "ExposedHeaders": {"Fn::Split": [",", {"Fn::Join": [",", [*cors["ExposeHeaders"], more]]}]},
            "MaxAge": cors["MaxAgeSeconds"],
        }
        rules = [
            {
                "Id": rule.pop("ID"),
                "Prefix": rule.pop("Filter")["Prefix"],
                **({"ExpiredObjectDeleteMarker": True} if rule.pop("Expiration", None) else {}),
                **rule,
            }
            for rule in by_hand("bucket-lifecycle.json")["Rules"]
        ]
        chosen = next(rule for rule in rules if rule["Id"] == "DeleteOldVersions")["NoncurrentVersionExpiration"]
        assert chosen["NoncurrentDays"] == decoded("storage.yaml")["Parameters"]["OldVersionDays"]["Default"]
        chosen["NoncurrentDays"] = {"Ref": "OldVersionDays"}
        assert bucket["LifecycleConfiguration"]["Rules"] == rules

    def test_only_what_runs_the_service_may_take_on_its_role(self) -> None:
        found = resources("storage.yaml")["ServiceRole"]["Properties"]["AssumeRolePolicyDocument"]
        tasks, instances = statements(found)
        assert found["Statement"][1]["Fn::If"][::2] == ["OnEc2", {"Ref": "AWS::NoValue"}]
        assert tasks["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert set(tasks["Condition"]) == {"StringEquals", "ArnLike"}
        assert instances["Principal"] == {"Service": "ec2.amazonaws.com"}

    def test_an_external_id_is_asked_for_where_a_role_is_assumed(self) -> None:
        for template in ("storage.yaml", "service.yaml"):
            assert breaks_a_rule(template, VendingMode="assume_role")
            assert not breaks_a_rule(template, VendingMode="assume_role", ExternalId=EXTERNAL_ID)
            assert not breaks_a_rule(template, VendingMode="web_identity")

    def test_events_are_delivered_by_a_topic_alone(self) -> None:
        given = {"ExternalId": EXTERNAL_ID, "StorageEventsUrl": "https://tokens.example.org/v1/storage-events"}
        assert breaks_a_rule("storage.yaml", **given)
        assert not breaks_a_rule("storage.yaml", **given, StorageEvents="yes")


@pytest.mark.filterwarnings("ignore:Tried to parse AWS..(S3..BucketPolicy|SNS..):UserWarning")  # moto knows neither
class TestStorageEvents:
    URL = "https://tokens.example.org/v1/storage-events"

    def test_the_bucket_alone_publishes_to_a_topic_that_a_key_of_its_own_encrypts(self, account: Account) -> None:
        topic = storage(account, StorageEvents="yes", StorageEventsUrl=self.URL)["StorageEventsTopicArn"]
        attributes = account.session.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
        found = resources("storage.yaml")
        known = {"Events": topic, "BucketName": BUCKET, "AWS::AccountId": account.id, "StorageEventsUrl": self.URL}
        # moto's CloudFormation keeps the key's policy in a form that its KMS does not read: so it is made once more.
        kms = account.session.client("kms")
        assert [key["KeyId"] for key in kms.list_keys()["Keys"]] == [attributes["KmsMasterKeyId"]]
        own = resolved(found["EventsKey"]["Properties"], known)
        assert own["EnableKeyRotation"] is True
        key = kms.create_key(Policy=json.dumps(own["KeyPolicy"]))["KeyMetadata"]["KeyId"]
        owner, bucket = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
        assert owner["Principal"] == {"AWS": f"arn:aws:iam::{account.id}:root"}
        only = {
            "Principal": {"Service": "s3.amazonaws.com"},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account.id},
                "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{BUCKET}"},
            },
        }
        assert {name: bucket[name] for name in only} == only
        assert bucket["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        # What moto's CloudFormation passes over, its SNS and S3 take.
        policy = resolved(found["EventsPolicy"]["Properties"], known)
        assert policy["Topics"] == [topic]
        (publish,) = policy["PolicyDocument"]["Statement"]
        assert publish == {
            "Sid": "TheBucketAlone",
            "Effect": "Allow",
            "Action": "sns:Publish",
            "Resource": topic,
            **only,
        }
        sns = account.session.client("sns")
        sns.set_topic_attributes(
            TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy["PolicyDocument"])
        )
        delivery = resolved(found["EventsDelivery"]["Properties"], known)
        sns.subscribe(TopicArn=topic, Protocol=delivery["Protocol"], Endpoint=delivery["Endpoint"])
        (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        assert (subscription["Protocol"], subscription["Endpoint"]) == ("https", self.URL)
        _, made, nothing = found["Bucket"]["Properties"]["NotificationConfiguration"]["Fn::If"]
        assert nothing == {"Ref": "AWS::NoValue"}
        account.s3.put_bucket_notification_configuration(
            Bucket=BUCKET,
            NotificationConfiguration={
                "TopicConfigurations": [
                    {
                        "TopicArn": resolved(one["Topic"], known | {"EventsPolicy": ""}),
                        "Events": [one["Event"]],
                        "Filter": {"Key": {"FilterRules": one["Filter"]["S3Key"]["Rules"]}},
                    }
                    for one in made["TopicConfigurations"]
                ]
            },
        )
        told = account.s3.get_bucket_notification_configuration(Bucket=BUCKET)["TopicConfigurations"]
        assert {event for one in told for event in one["Events"]} == {"s3:ObjectCreated:*", "s3:ObjectRemoved:*"}
        for one in told:
            assert one["TopicArn"] == topic
            assert one["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "users/"}]

    def test_without_them_there_is_neither_topic_nor_key(self, account: Account) -> None:
        storage(account, StorageEvents="no")
        assert account.session.client("sns").list_topics()["Topics"] == []
        assert account.session.client("kms").list_keys()["Keys"] == []

    def test_the_bucket_waits_for_the_policy_and_the_policy_not_for_the_bucket(self) -> None:
        found = resources("storage.yaml")
        assert "EventsPolicy" in references(found["Bucket"]["Properties"]["NotificationConfiguration"])
        for name in ("EventsPolicy", "Events", "EventsKey", "EventsDelivery"):
            assert "Bucket" not in references(found[name])


class TestWebIdentity:
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..IAM..OIDCProvider:UserWarning")  # moto knows none
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")
    def test_trusts_the_issuer_for_one_audience_and_subject(self, account: Account) -> None:
        issuer = "tokens.example.org" + ISSUER_PATH
        storage(account)  # moto reads the outputs of what a condition leaves out
        made = account.make("web-identity.yaml", Issuer=issuer, StorageStack="storage")
        role = role_name(made["VendedRoleArn"])
        trust = by_hand("vending-role-trust-web-identity.json", ACCOUNT=account.id, HOST="tokens.example.org")
        assert account.trust(role) == trust
        assert trust["Statement"][0]["Condition"] == {
            "StringEquals": {f"{issuer}:aud": AUDIENCE, f"{issuer}:sub": SUBJECT}
        }
        assert account.managed(role) == [by_hand("vending-role-permissions.json", BUCKET=BUCKET)]
        provider = resources("web-identity.yaml")["Provider"]["Properties"]
        assert provider == {"Url": {"Fn::Sub": "https://${Issuer}"}, "ClientIdList": [AUDIENCE]}

    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..IAM..OIDCProvider:UserWarning")
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")
    def test_has_key_and_revocation_as_the_role_that_is_assumed(self, account: Account) -> None:
        key = f"arn:aws:kms:{REGION}:{account.id}:key/1234"
        service = storage(account, KmsKeyArn=key)["ServiceRoleName"]
        made = account.make(
            "web-identity.yaml",
            Issuer="tokens.example.org" + ISSUER_PATH,
            StorageStack="storage",
            KmsKeyArn=key,
            Revocation="role_policy",
        )
        role = role_name(made["VendedRoleArn"])
        allowed = by_hand(
            "vending-role-permissions-kms.json", REGION=REGION, ACCOUNT=account.id, KMS_KEY_ID="1234", BUCKET=BUCKET
        )
        assert allowed in account.managed(role)
        assert account.inline(role) == {}
        boundary = account.iam.get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
        denials = made["RevocationPolicyArns"]
        assert account.inline(service)["revoke"] == may_revoke(account, role, boundary, denials)


class TestSaml:
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..IAM..SAMLProvider:UserWarning")  # moto knows none
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")
    def test_trusts_the_provider_as_the_policy_by_hand_does(self, account: Account) -> None:
        storage(account)  # moto reads the outputs of what a condition leaves out
        issuer = issuer_of("https://tokens.example.org")
        given = {"ProviderName": "tokenvend", "Metadata": two_keys(), "Issuer": issuer, "StorageStack": "storage"}
        made = account.make("saml.yaml", **given)
        role = role_name(made["VendedRoleArn"])
        by = by_hand(
            "vending-role-trust-saml.json", ACCOUNT=account.id, HOST="tokens.example.org", PROVIDER="tokenvend"
        )
        assert account.trust(role) == by
        assert made["SamlProviderArn"] == by["Statement"][0]["Principal"]["Federated"]
        assert account.iam.get_role(RoleName=role)["Role"]["MaxSessionDuration"] == 43_200
        assert account.managed(role) == [by_hand("vending-role-permissions.json", BUCKET=BUCKET)]
        properties = resources("saml.yaml")["Provider"]["Properties"]
        assert properties == {"Name": {"Ref": "ProviderName"}, "SamlMetadataDocument": {"Ref": "Metadata"}}

    def test_takes_the_metadata_while_a_key_is_rotated(self) -> None:
        """CloudFormation takes no longer parameter."""
        parameter = decoded("saml.yaml")["Parameters"]["Metadata"]
        assert parameter["MinLength"] == 1000
        assert len(two_keys()) <= parameter["MaxLength"] == 4096

    def test_takes_the_issuer_of_the_service(self) -> None:
        pattern = decoded("saml.yaml")["Parameters"]["Issuer"]["AllowedPattern"]
        for url in ("https://tokens.example.org", "https://example.org/tokens", "https://example.org:8443"):
            assert re.fullmatch(pattern, issuer_of(url))
        assert not re.fullmatch(pattern, "https://tokens.example.org/saml")

    def test_knows_the_recipient_of_each_partition_that_the_service_knows(self) -> None:
        known = decoded("saml.yaml")["Mappings"]["SignIn"]
        assert known == {name: {"Recipient": party.recipient} for name, party in RELYING_PARTIES.items()}


def two_keys() -> str:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    jwks = [rsa_keys.generate_certified_key_pair(now).public_jwk for _ in range(2)]
    return saml_metadata.document("https://tokens.of-a-long-name.photos.example.org", jwks)


def policies(value: Any) -> Iterator[dict[str, Any]]:
    """Every policy document in a template."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        for member in value.values():
            yield from policies(member)
    elif isinstance(value, list):
        for member in value:
            yield from policies(member)


TEMPLATES = sorted(file.name for file in AWS.glob("*.yaml"))
UNBOUND = {"ecr:GetAuthorizationToken", "sts:DecodeAuthorizationMessage", "sts:GetAccessKeyInfo"}
"""What AWS lets nobody bind to a resource."""
ACCOUNT_OF_A_KEY = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
"""Without it nobody could ever change the key."""


class TestEveryTemplate:
    @pytest.mark.parametrize("template", TEMPLATES)
    def test_has_no_user_no_key_and_no_wild_permission(self, template: str) -> None:
        found = resources(template)
        kinds = {resource["Type"] for resource in found.values()}
        assert not kinds & {"AWS::IAM::User", "AWS::IAM::AccessKey", "AWS::IAM::Group"}
        for policy in policies(found):
            for statement in statements(policy):
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                if statement["Effect"] == "Deny" or statement.get("Principal") == ACCOUNT_OF_A_KEY:
                    continue
                assert not any("*" in action for action in actions), statement
                if "Principal" not in statement:
                    assert statement["Resource"] != "*" or set(actions) <= UNBOUND, statement

    @pytest.mark.parametrize("template", TEMPLATES)
    def test_leaves_out_no_check_without_a_reason(self, template: str) -> None:
        for name, part in resources(template).items():
            for skip in part.get("Metadata", {}).get("checkov", {}).get("skip", ()):
                assert len(skip["comment"]) > 10, (name, skip["id"])

    @pytest.mark.parametrize("template", TEMPLATES)
    def test_is_short_enough_to_be_sent_as_it_is(self, template: str) -> None:
        """A longer one has to lie in a bucket before CloudFormation takes it."""
        assert len((AWS / template).read_bytes()) <= 51_200

    @pytest.mark.parametrize("template", TEMPLATES)
    def test_is_clean_to_parliament(self, template: str, tmp_path: Path) -> None:
        # Trust policies and the bucket's are left out: parliament reads those of identities.
        texts = [
            json.dumps(resolved(policy, ARNS))
            for policy in policies(resources(template))
            if not any("Principal" in statement for statement in statements(policy))
        ]
        if template == "storage.yaml":
            texts += [json.dumps(by_hand(file.name, **FILLED_IN)) for file in AWS.glob("*-permissions*.json")]
        (tmp_path / "policies.json").write_text(json.dumps(texts))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LINT, tmp_path / "policies.json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [[] for _ in texts] + [["UNKNOWN_ACTION"]]


FILLED_IN = {
    "KMS_KEY_ID": "1b2c3d4e-0000-4000-8000-000000000001",
    "VENDING_BOUNDARY": "boundary",
    **{f"VENDING_DENIALS_{number}": f"denials-{number}" for number in range(1, 6)},
    "VENDING_ROLE": "vended",
    "BUCKET": BUCKET,
    "ACCOUNT": "123456789012",
    "REGION": REGION,
}
LINT = """
import json, sys
from parliament import analyze_policy_string
texts = json.load(open(sys.argv[1]))
broken = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObjekt", "Resource": "*"}]}
print(json.dumps([[f.issue for f in analyze_policy_string(text).findings] for text in (*texts, json.dumps(broken))]))
"""

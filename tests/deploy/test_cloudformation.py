"""The templates, made for real in an account that moto keeps: what is there afterwards is what the service needs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cfnlint.decode
import pytest
from moto import mock_aws

from app.credentials.identity_token import AUDIENCE, ISSUER_PATH, SUBJECT
from app.server import make_config
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


def resources(template: str) -> dict[str, Any]:
    """Of a template, its short forms written out."""
    decoded, _ = cfnlint.decode.decode(str(AWS / template))
    found: dict[str, Any] = json.loads(json.dumps(decoded["Resources"]))
    return found


def role_name(arn: str) -> str:
    return arn.rpartition("/")[2]


def storage(account: Account, **parameters: str) -> dict[str, str]:
    return account.make("storage.yaml", BucketName=BUCKET, ExternalId=EXTERNAL_ID, **parameters)


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

    def test_the_services_role_may_vend_and_nothing_else(self, account: Account) -> None:
        made = storage(account)
        policies = account.inline(made["ServiceRoleName"])
        assert policies.keys() == {"ask", "vend"}
        (statement,) = policies["vend"]["Statement"]
        assert statement["Action"] == ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
        assert statement["Resource"] == made["VendedRoleArn"]
        assert account.managed(made["ServiceRoleName"]) == []

    def test_revocation_adds_three_actions_on_the_vended_role(self, account: Account) -> None:
        made = storage(account, Revocation="role_policy")
        write, read = account.inline(made["ServiceRoleName"])["revoke"]["Statement"]
        assert [write["Action"], read["Action"]] == [["iam:DeleteRolePolicy", "iam:PutRolePolicy"], "iam:GetRolePolicy"]
        assert write["Resource"] == read["Resource"] == made["VendedRoleArn"]
        role = account.iam.get_role(RoleName=role_name(made["VendedRoleArn"]))["Role"]
        boundary = role["PermissionsBoundary"]["PermissionsBoundaryArn"]
        assert write["Condition"] == {"ArnEquals": {"iam:PermissionsBoundary": boundary}}

    def test_the_vended_role_reaches_no_more_than_before_whatever_is_written_into_it(self) -> None:
        found = resources("storage.yaml")

        def statements(*names: str) -> list[dict[str, Any]]:
            return [part for name in names for part in found[name]["Properties"]["PolicyDocument"]["Statement"]]

        bound = statements("VendedBoundary")
        _, with_key, none = bound[-1]["Resource"].pop("Fn::If")
        assert none["Fn::Sub"].endswith(":key/none")
        bound[-1]["Resource"] = with_key
        assert bound == statements("VendedObjects", "VendedKey")

    def test_a_key_adds_its_policy(self, account: Account) -> None:
        key = f"arn:aws:kms:{REGION}:{account.id}:key/1234"
        made = storage(account, KmsKeyArn=key)
        expected = by_hand("vending-role-permissions-kms.json", REGION=REGION, ACCOUNT=account.id, KMS_KEY_ID="1234")
        assert expected in account.managed(role_name(made["VendedRoleArn"]))
        (rule,) = account.s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}

    def test_web_identity_makes_no_role_to_assume(self) -> None:
        conditions = {name: resource.get("Condition") for name, resource in resources("storage.yaml").items()}
        assert conditions == {
            **dict.fromkeys(("Bucket", "BucketPolicy", "ServiceRole", "ServiceMayAsk")),
            **dict.fromkeys(("ServiceMayVend", "VendedRole", "VendedObjects"), "AssumesRole"),
            **dict.fromkeys(("ServiceMayRevoke", "VendedBoundary"), "Revokes"),
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
        assert {statement["Effect"] for statement in policy["Statement"]} == {"Deny"}
        assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_the_bucket_lets_pages_in_and_cleans_up_as_the_files_by_hand_say(self) -> None:
        bucket = resources("storage.yaml")["Bucket"]["Properties"]
        (cors,) = by_hand("bucket-cors.json")["CORSRules"]
        (made,) = bucket["CorsConfiguration"]["CorsRules"]
        assert made == {
            "AllowedOrigins": {"Ref": "AllowedOrigins"},
            "AllowedMethods": cors["AllowedMethods"],
            "AllowedHeaders": cors["AllowedHeaders"],
            "ExposedHeaders": cors["ExposeHeaders"],
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
        assert bucket["LifecycleConfiguration"]["Rules"] == rules


class TestWebIdentity:
    @pytest.mark.filterwarnings("ignore:Tried to parse AWS..IAM..OIDCProvider:UserWarning")  # moto knows none
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
        provider = resources("web-identity.yaml")["Provider"]["Properties"]
        assert provider == {"Url": {"Fn::Sub": "https://${Issuer}"}, "ClientIdList": [AUDIENCE]}


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


class TestEveryTemplate:
    @pytest.mark.parametrize("template", TEMPLATES)
    def test_has_no_user_no_key_and_no_wild_permission(self, template: str) -> None:
        found = resources(template)
        kinds = {resource["Type"] for resource in found.values()}
        assert not kinds & {"AWS::IAM::User", "AWS::IAM::AccessKey", "AWS::IAM::Group"}
        for policy in policies(found):
            for statement in policy["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                if statement["Effect"] == "Deny":
                    continue
                assert not any("*" in action for action in actions), statement
                if "Principal" not in statement:
                    assert statement["Resource"] != "*" or set(actions) <= UNBOUND, statement

    @pytest.mark.parametrize("template", TEMPLATES)
    def test_is_clean_to_parliament(self, template: str, tmp_path: Path) -> None:
        texts = []
        for policy in policies(resources(template)):
            if any("Principal" in statement for statement in policy["Statement"]):
                continue  # trust policies and the bucket's: parliament reads those of identities
            plain = json.loads(json.dumps(policy), object_hook=filled_in)
            texts.append(json.dumps(plain))
        (tmp_path / "policies.json").write_text(json.dumps(texts))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LINT, tmp_path / "policies.json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [[] for _ in texts] + [["UNKNOWN_ACTION"]]


LINT = """
import json, sys
from parliament import analyze_policy_string
texts = json.load(open(sys.argv[1]))
broken = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObjekt", "Resource": "*"}]}
print(json.dumps([[f.issue for f in analyze_policy_string(text).findings] for text in (*texts, json.dumps(broken))]))
"""
ARNS = {
    "VendedRole": "arn:aws:iam::123456789012:role/vended",
    "VendedBoundary": "arn:aws:iam::123456789012:policy/boundary",
    "Logs": "arn:aws:logs:eu-central-1:123456789012:log-group:tokenvend:log-stream:*",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-000000000001",
    "ImageRepositoryArn": "arn:aws:ecr:eu-central-1:123456789012:repository/tokenvend",
    "SmtpSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:smtp-abcdef",
}
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:data-abcdef"


def filled_in(value: dict[str, Any]) -> Any:
    """What a function of CloudFormation's would give, or nearly."""
    if len(value) != 1:
        return value
    ((name, argument),) = value.items()
    if name in ("Ref", "Fn::GetAtt"):
        return ARNS[argument if name == "Ref" else argument[0]]
    if name == "Fn::ImportValue":
        return SECRET
    if name == "Fn::If":
        return argument[1]
    if name == "Fn::Sub":
        text = argument if isinstance(argument, str) else argument[0]
        for variable, plain in (("AWS::Partition", "aws"), ("AWS::URLSuffix", "amazonaws.com"), ("BucketName", BUCKET)):
            text = text.replace(f"${{{variable}}}", plain)
        text = text.replace("${AWS::Region}", REGION).replace("${AWS::AccountId}", "123456789012")
        return re.sub(r"\$\{\w+\}", "db-ABCDEFGHIJKL", text)
    return value


class TestService:
    def test_every_setting_is_one_that_there_is(self) -> None:
        known = {PREFIX + name.upper() for name in Settings.model_fields}
        text = (AWS / "service.yaml").read_text()
        used = set(re.findall(rf"{PREFIX}[A-Z0-9_]+", text))
        assert used <= known
        assert {"TOKENVEND_SECRET_KEY", "TOKENVEND_RATE_LIMIT_URL", "TOKENVEND_TRUSTED_PROXIES"} <= used

    def test_instances_answer_for_metadata_version_two_and_to_themselves_alone(self) -> None:
        data = resources("service.yaml")["Template"]["Properties"]["LaunchTemplateData"]
        assert data["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }
        assert "KeyName" not in data
        assert "--network host" in json.dumps(data["UserData"])

    def test_tasks_are_nobodys_and_write_nothing(self) -> None:
        found = resources("service.yaml")
        for task in ("Task", "MigrationTask"):
            for container in found[task]["Properties"]["ContainerDefinitions"]:
                assert (container["User"], container["ReadonlyRootFilesystem"]) == ("10001:10001", True)
                secret = {entry["Name"] for entry in container.get("Secrets", ())}
                plain = {entry["Name"] for entry in container.get("Environment", ()) if "Name" in entry}
                assert not {name for name in plain if re.search("SECRET|PASSWORD$|TOKEN$|SMTP|CACHE_URL", name)}
                assert not secret & plain

    def test_no_kept_connection_ends_before_the_balancers(self) -> None:
        attributes = resources("service.yaml")["Balancer"]["Properties"]["LoadBalancerAttributes"]
        idle = next(int(a["Value"]) for a in attributes if a["Key"] == "idle_timeout.timeout_seconds")
        assert idle < make_config("app.main:none", host="127.0.0.1", port=1).timeout_keep_alive

    def test_the_databases_address_is_one_that_takes_passwords_by_iam(self) -> None:
        urls = re.findall(r"postgresql\+psycopg://\S+?(?=[\"\s])", (AWS / "service.yaml").read_text())
        assert len(urls) == 3
        for url in urls:
            settings = Settings(
                _env_file=None, database_iam_auth=True, database_url=url.replace("${Host}", "db.example")
            )
            assert "sslmode=verify-full" in settings.database_url

"""What operators copy fits what the service does."""

import json
from typing import get_args

from app.policy.session_policy import Access, Bucket
from app.revocation.iam_writer import PROBE
from app.vending.assertion import RELYING_PARTIES
from app.vending.identity_token import AUDIENCE, ISSUER_PATH, SUBJECT
from app.vending.saml_metadata import PERSISTENT, issuer_of
from tests.deploy.reading import DEPLOY

AWS = DEPLOY / "aws"


def statements(name: str) -> dict[str, dict[str, object]]:
    document = json.loads((AWS / name).read_text())
    return {statement["Sid"]: statement for statement in document["Statement"]}


class TestVendingRole:
    def test_allows_exactly_what_a_credential_may_do(self) -> None:
        allowed = statements("vending-role-permissions.json")
        every = {action for access in get_args(Access) for action in Bucket("aws", "b").object_actions(access)}
        assert set(allowed["Objects"]["Action"]) == every  # type: ignore[call-overload]
        assert allowed["List"]["Action"] == ["s3:ListBucket", "s3:ListBucketVersions"]

    def test_reaches_users_alone(self) -> None:
        allowed = statements("vending-role-permissions.json")
        assert allowed["Objects"]["Resource"] == "arn:aws:s3:::BUCKET/users/*"
        assert allowed["List"]["Condition"] == {"StringLike": {"s3:prefix": "users/*"}}

    def test_trusts_one_role(self) -> None:
        trust = statements("vending-role-trust.json")["TheServiceAlone"]
        assert trust["Principal"] == {"AWS": "arn:aws:iam::ACCOUNT:role/SERVICE-ROLE"}
        assert trust["Action"] == ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]

    def test_trusts_the_issuer_for_one_audience_and_subject(self) -> None:
        trust = statements("vending-role-trust-web-identity.json")["TokensForStsAlone"]
        assert trust["Principal"] == {"Federated": f"arn:aws:iam::ACCOUNT:oidc-provider/HOST{ISSUER_PATH}"}
        assert trust["Condition"] == {
            "StringEquals": {f"HOST{ISSUER_PATH}:aud": AUDIENCE, f"HOST{ISSUER_PATH}:sub": SUBJECT}
        }

    def test_trusts_the_provider_for_one_recipient_issuer_and_kind_of_name(self) -> None:
        trust = statements("vending-role-trust-saml.json")["AssertionsForStsAlone"]
        assert trust["Principal"] == {"Federated": "arn:aws:iam::ACCOUNT:saml-provider/PROVIDER"}
        assert trust["Action"] == ["sts:AssumeRoleWithSAML", "sts:SetSourceIdentity", "sts:TagSession"]
        assert trust["Condition"] == {
            "StringEquals": {
                "SAML:aud": RELYING_PARTIES["aws"].recipient,
                "SAML:iss": issuer_of("https://HOST"),
                "SAML:sub_type": PERSISTENT.rpartition(":")[2],
            }
        }


class TestDenials:
    def test_start_with_a_document_that_denies_nobody(self) -> None:
        """The one to which the service returns, so that it is there to be changed."""
        assert json.loads((AWS / "vending-role-denials.json").read_text()) == json.loads(PROBE)


class TestService:
    def test_may_write_the_vending_roles_policies_and_nothing_else_of_iam(self) -> None:
        write, read, versions = statements("service-permissions-revocation.json").values()
        assert write["Action"] == ["iam:DeleteRolePolicy", "iam:PutRolePolicy"]
        assert read["Action"] == "iam:GetRolePolicy"
        assert write["Resource"] == read["Resource"] == "arn:aws:iam::ACCOUNT:role/VENDING-ROLE"
        assert versions["Action"] == ["iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:ListPolicyVersions"]
        arns = [f"arn:aws:iam::ACCOUNT:policy/VENDING-DENIALS-{number}" for number in range(1, 6)]
        assert versions["Resource"] == arns
        # Else who writes them could let the role do anything.
        boundary = "arn:aws:iam::ACCOUNT:policy/VENDING-BOUNDARY"
        assert write["Condition"] == {"ArnEquals": {"iam:PermissionsBoundary": boundary}}


class TestLifecycle:
    def test_ends_what_an_erasure_cannot_reach(self) -> None:
        """A vended credential neither lists multipart uploads nor deletes versions: the bucket has to."""
        rules = {rule["ID"]: rule for rule in json.loads((AWS / "bucket-lifecycle.json").read_text())["Rules"]}
        for rule in rules.values():
            assert (rule["Status"], rule["Filter"]) == ("Enabled", {"Prefix": "users/"})
        assert rules["EndIncompleteUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
        assert rules["DeleteOldVersions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
        many = {"NoncurrentDays": 1, "NewerNoncurrentVersions": 5}
        assert rules["DeleteManyVersions"]["NoncurrentVersionExpiration"] == many
        reachable = set(Bucket("aws", "b", tags="write").object_actions("read_write"))
        assert not {"s3:ListBucketMultipartUploads", "s3:DeleteObjectVersion"} & reachable

"""`POST /v1/access-checks`: why a request of the app was refused."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.platform.environment import load_settings
from app.platform.settings import PREFIX, SettingsError
from app.policy.roles import role_policy
from app.policy.session_policy import Bucket, Encryption, Tags
from tests.deploy.reading import DEPLOY
from tests.deploy.templates import chosen, resources
from tests.security.test_authorization import without_request_id
from tests.support.databases import SqliteDatabases
from tests.support.service import Device, Service, running_service

pytestmark = pytest.mark.slow("cfn-lint takes two seconds to load")

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/abc"


def ask(device: Device, action: str, key: str, **more: Any) -> dict[str, Any]:
    answer = device.post("/v1/access-checks", json={"action": action, "key": key, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found.keys() == {"allowed", "reason", "statement", "detail"}
    assert found["allowed"] is (found["reason"] == "allowed")
    return found


def header(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


@pytest.fixture(scope="module")
def shared(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For what no database has a say in."""
    with running_service(sqlite_databases.create(tmp_path_factory.mktemp("shared"))) as running:
        yield running


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.device()


@pytest.fixture
def make_on_sqlite(sqlite_databases: SqliteDatabases, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:
        url = sqlite_databases.create(tmp_path)
        yield lambda **changes: stack.enter_context(running_service(url, **changes))


class TestPolicies:
    @pytest.mark.parametrize(
        "action", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:HeadObject", "S3:getobject"]
    )
    def test_allow_what_is_ones_own(self, device: Device, action: str) -> None:
        found = ask(device, action, f"users/{device.user_id}/a.jpg")
        assert (found["reason"], json.loads(found["statement"])["Sid"]) == ("allowed", "Objects")

    def test_lack_a_statement_for_the_rest(self, device: Device) -> None:
        key = f"users/{uuid.uuid4()}/a.jpg"
        found = ask(device, "s3:HeadObject", key)
        assert found["reason"] == "session_policy"
        assert json.loads(found["statement"]) == {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::photos/{key}",
        }

    def test_lists_are_told_by_their_prefix(self, device: Device) -> None:
        own = f"users/{device.user_id}/"
        assert ask(device, "s3:ListObjectsV2", own)["allowed"]
        assert ask(device, "s3:ListObjectsV2", own.rstrip("/"))["allowed"]
        found = ask(device, "s3:ListBucket", "users")
        assert json.loads(found["statement"])["Condition"] == {"StringEquals": {"s3:prefix": "users"}}
        assert "Condition" not in json.loads(ask(device, "s3:ListBucket", "")["statement"])

    @pytest.mark.parametrize(
        ("action", "key", "said"),
        [
            ("s3:GetObject", "{other}a.jpg", "outside the user's own prefix"),
            ("s3:GetObject", "a.jpg", "begin with the `prefix`"),
            ("s3:GetObject", "/{own}a.jpg", "does not begin with a slash"),
            ("s3:GetObject", "photos/{own}a.jpg", "bucket's name"),
            ("s3:GetObject", "{OWN}a.jpg", "lower case"),
            ("s3:ListBucket", "users", "begin with the `prefix`"),
            ("s3:ListBucket", "{bare}b", "outside the user's own prefix"),
            ("s3:GetObject", "{bare}", "outside the user's own prefix"),
            ("s3:PutObjectAcl", "{own}a.jpg", "No credential"),
            ("s3:PutObjectTagging", "{own}a.jpg", "TOKENVEND_OBJECT_TAGS is `read`"),
            ("s3:GetBucketLocation", "", "TOKENVEND_BUCKET_LOCATION is off: give your client the `region`"),
            ("s3:Frobnicate", "{own}a.jpg", "No credential"),
        ],
    )
    def test_a_common_mistake_is_named(self, device: Device, action: str, key: str, said: str) -> None:
        own = f"users/{device.user_id}/"
        names = {"own": own, "OWN": own.upper(), "bare": own.rstrip("/"), "other": f"users/{uuid.uuid4()}/"}
        found = ask(device, action, key.format(**names))
        assert (found["reason"], said in found["detail"]) == ("session_policy", True), found

    @pytest.mark.parametrize(
        ("wish", "key", "said"),
        [
            ({"path": "albums/"}, "{own}albums", "The `prefix` of a list ends in a slash."),
            ({"path": "albums/"}, "{bare}", "outside that folder"),
            ({"path": "albums/2026/"}, "{own}albums", "outside that folder"),
            ({"access": "write"}, "{bare}", "A credential with the access `write` does not allow this"),
        ],
    )
    def test_a_folder_is_listed_with_its_slash(self, device: Device, wish: dict[str, str], key: str, said: str) -> None:
        own = f"users/{device.user_id}/"
        used = device.vend(**wish).json()["access_key_id"]
        question = {"action": "s3:ListObjectsV2", "key": key.format(own=own, bare=own.rstrip("/"))}
        found = device.post("/v1/access-checks", json=question | {"access_key_id": used}).json()
        assert (found["reason"], said in found["detail"]) == ("session_policy", True), found

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}, "role_policy"),
            ({"Sid": "Night", "Effect": "Deny", "Action": "s3:Get*", "Resource": "*"}, "explicit_deny"),
            (
                {
                    "Effect": "Allow",
                    "Action": "s3:*",
                    "Resource": "*",
                    "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
                },
                "not_evaluable",
            ),
        ],
    )
    def test_the_role_is_asked_too(
        self, make_on_sqlite: Callable[..., Service], statement: dict[str, Any], reason: str
    ) -> None:
        device = make_on_sqlite(role_policy=json.dumps({"Statement": [statement]})).device()
        found = ask(device, "s3:GetObject", f"users/{device.user_id}/a.jpg")
        assert found["reason"] == reason
        if reason != "role_policy":  # the rest of it is the operator's alone
            named = {name: statement[name] for name in ("Sid", "Effect") if name in statement}
            assert json.loads(found["statement"]) == named
        assert ask(device, "s3:GetObject", "elsewhere")["reason"] != "allowed"

    def test_so_is_the_key_of_the_bucket(self, make_on_sqlite: Callable[..., Service]) -> None:
        """What encrypts takes kms:GenerateDataKey besides, of both policies."""
        bounds = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        device = make_on_sqlite(kms_key_arn=KEY_ARN, role_policy=json.dumps(bounds)).device()
        found = ask(device, "s3:PutObject", f"users/{device.user_id}/a.jpg")
        assert (found["reason"], json.loads(found["statement"])["Action"]) == ("role_policy", "kms:GenerateDataKey")
        device = make_on_sqlite(kms_key_arn=KEY_ARN).device()
        assert ask(device, "s3:PutObject", f"users/{device.user_id}/a.jpg")["allowed"]

    @pytest.mark.parametrize(
        ("operation", "decrypts"),
        [
            ("s3:GetObject", True),
            ("s3:PutObject", False),
            ("s3:CreateMultipartUpload", False),
            ("s3:UploadPart", True),
            ("s3:UploadPartCopy", True),
            ("s3:CompleteMultipartUpload", True),
        ],
    )
    def test_parts_are_decrypted_too(
        self, make_on_sqlite: Callable[..., Service], operation: str, decrypts: bool
    ) -> None:
        bounds = {"Statement": [{"Effect": "Allow", "Action": ["s3:*", "kms:GenerateDataKey"], "Resource": "*"}]}
        device = make_on_sqlite(kms_key_arn=KEY_ARN, role_policy=json.dumps(bounds)).device()
        found = ask(device, operation, f"users/{device.user_id}/a.jpg")
        assert found["allowed"] is not decrypts
        if decrypts:
            assert (found["reason"], json.loads(found["statement"])["Action"]) == ("role_policy", "kms:Decrypt")

    @pytest.mark.parametrize("operation", ["s3:CopyObject", "s3:UploadPartCopy"])
    def test_a_copy_reads_its_source_too(self, device: Device, operation: str) -> None:
        own = f"users/{device.user_id}/"
        found = ask(device, operation, f"{own}a.jpg")
        assert (found["allowed"], "s3:GetObject" in found["detail"]) == (True, True)
        writer = device.vend(access="write").json()["access_key_id"]
        found = ask(device, operation, f"{own}a.jpg", access_key_id=writer)
        assert (found["reason"], "s3:GetObject" in found["detail"]) == ("session_policy", True)
        assert json.loads(found["statement"]) == {
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::photos/{own}*",
        }
        reader = device.vend(access="read").json()["access_key_id"]
        found = ask(device, operation, f"{own}a.jpg", access_key_id=reader)
        assert json.loads(found["statement"])["Action"] == "s3:PutObject"

    def test_tags_and_region_are_as_the_operator_says(self, make_on_sqlite: Callable[..., Service]) -> None:
        device = make_on_sqlite(object_tags="write", bucket_location="on").device()
        own = f"users/{device.user_id}/"
        reader = device.vend(access="read").json()["access_key_id"]
        assert ask(device, "s3:PutObjectTagging", f"{own}a.jpg")["allowed"]
        assert ask(device, "s3:GetBucketLocation", "")["allowed"]
        found = ask(device, "s3:PutObjectTagging", f"{own}a.jpg", access_key_id=reader)
        assert (found["reason"], "ask for another `access`" in found["detail"]) == ("session_policy", True)


class TestHeaders:
    """What they add to a call, as AWS asks for it."""

    @pytest.mark.parametrize("action", ["s3:PutObject", "s3:CopyObject", "s3:CreateMultipartUpload"])
    @pytest.mark.parametrize(
        ("name", "value", "added"),
        [
            ("x-amz-acl", "public-read", "s3:PutObjectAcl"),
            ("X-Amz-Grant-Read", "id=1", "s3:PutObjectAcl"),
            ("x-amz-grant-full-control", "id=1", "s3:PutObjectAcl"),
            ("x-amz-tagging", "a=b", "s3:PutObjectTagging"),
            ("x-amz-object-lock-mode", "GOVERNANCE", "s3:PutObjectRetention"),
            ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z", "s3:PutObjectRetention"),
            ("x-amz-object-lock-legal-hold", "ON", "s3:PutObjectLegalHold"),
        ],
    )
    def test_take_an_action_more(self, device: Device, action: str, name: str, value: str, added: str) -> None:
        key = f"users/{device.user_id}/a.jpg"
        found = ask(device, action, key, headers=[header(name, value)])
        assert found["reason"] == "session_policy"
        assert json.loads(found["statement"]) == {
            "Effect": "Allow",
            "Action": added,
            "Resource": f"arn:aws:s3:::photos/{key}",
        }
        assert f"The headers add {added} (`{name.lower()}`)" in found["detail"]
        assert f"What is refused is {added}, for `{name.lower()}`" in found["detail"]

    @pytest.mark.parametrize("action", ["s3:DeleteObject", "s3:DeleteObjects", "s3:PutObjectRetention"])
    def test_bypass_a_lock(self, device: Device, make_on_sqlite: Callable[..., Service], action: str) -> None:
        """The role allows it here, so that what is refused is the bypass."""
        key, bypass = f"users/{device.user_id}/a.jpg", "x-amz-bypass-governance-retention"
        found = ask(device, action, key, headers=[header(bypass, "true")])
        assert f"s3:BypassGovernanceRetention (`{bypass}`)" in found["detail"]
        assert not found["allowed"]
        found = ask(device, action, key, headers=[header(bypass, "false")])
        assert "BypassGovernanceRetention" not in found["detail"]

    @pytest.mark.parametrize(
        ("action", "name", "value"),
        [
            ("s3:PutObject", "content-type", "image/jpeg"),
            ("s3:PutObject", "x-amz-tagging", ""),
            ("s3:PutObject", "x-amz-meta-caption", "beach"),
            ("s3:UploadPart", "x-amz-acl", "public-read"),
            ("s3:GetObject", "x-amz-acl", "public-read"),
        ],
    )
    def test_others_make_no_difference(self, device: Device, action: str, name: str, value: str) -> None:
        found = ask(device, action, f"users/{device.user_id}/a.jpg", headers=[header(name, value)])
        assert (found["allowed"], "The headers add" in found["detail"]) == (True, False)

    def test_are_named_where_none_were_sent(self, device: Device) -> None:
        own = f"users/{device.user_id}/a.jpg"
        assert "ask with `headers`" in ask(device, "s3:PutObject", own)["detail"]
        assert "ask with `headers`" not in ask(device, "s3:GetObject", own)["detail"]

    @pytest.mark.parametrize("action", ["s3:CopyObject", "s3:PutObject", "s3:UploadPartCopy", "s3:UploadPart"])
    @pytest.mark.parametrize(
        ("source", "reason", "said"),
        [
            ("/photos/{own}b.jpg", "allowed", ""),
            ("photos/{own}b%20c.jpg", "allowed", ""),
            ("photos/{other}b.jpg", "session_policy", "What is refused is s3:GetObject, for `x-amz-copy-source`"),
            ("photos/{own}b.jpg?versionId=1", "session_policy", "s3:GetObjectVersion, for `x-amz-copy-source`"),
            ("elsewhere/{own}b.jpg", "session_policy", "in another bucket"),
            ("arn:aws:s3:us-east-1:1:accesspoint/x/object/b.jpg", "allowed", "needs s3:GetObject on its source too"),
        ],
    )
    def test_tell_the_source_of_a_copy(self, device: Device, action: str, source: str, reason: str, said: str) -> None:
        own, other = f"users/{device.user_id}/", f"users/{uuid.uuid4()}/"
        value = source.format(own=own, other=other)
        found = ask(device, action, f"{own}a.jpg", headers=[header("x-amz-copy-source", value)])
        assert (found["reason"], said in found["detail"]) == (reason, True), found

    def test_say_whether_a_copy_takes_tags_along(self, device: Device) -> None:
        own = f"users/{device.user_id}/"
        source = header("x-amz-copy-source", f"photos/{own}b.jpg")
        assert "If the source has tags" in ask(device, "s3:CopyObject", f"{own}a.jpg", headers=[source])["detail"]
        replaced = [source, header("x-amz-tagging-directive", "REPLACE")]
        found = ask(device, "s3:CopyObject", f"{own}a.jpg", headers=replaced)
        assert (found["allowed"], "If the source has tags" in found["detail"]) == (True, False)

    def test_are_values_of_conditions_too(self, make_on_sqlite: Callable[..., Service]) -> None:
        public = {"StringEquals": {"s3:x-amz-storage-class": "GLACIER"}}
        statements = [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Sid": "NoArchive", "Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": public},
        ]
        device = make_on_sqlite(role_policy=json.dumps({"Statement": statements})).device()
        own = f"users/{device.user_id}/a.jpg"
        assert ask(device, "s3:PutObject", own)["reason"] == "not_evaluable"
        for value, reason in (("GLACIER", "explicit_deny"), ("STANDARD", "allowed")):
            found = ask(device, "s3:PutObject", own, headers=[header("x-amz-storage-class", value)])
            assert found["reason"] == reason

    def test_tags_are_allowed_where_the_operator_says_so(self, make_on_sqlite: Callable[..., Service]) -> None:
        device = make_on_sqlite(object_tags="write").device()
        headers = [header("x-amz-tagging", "a=b"), header("x-amz-acl", "private")]
        own = f"users/{device.user_id}/a.jpg"
        assert ask(device, "s3:PutObject", own, headers=headers[:1])["allowed"]
        found = ask(device, "s3:PutObject", own, headers=headers)["detail"]
        assert "add s3:PutObjectTagging (`x-amz-tagging`), s3:PutObjectAcl (`x-amz-acl`)" in found
        assert "What is refused is s3:PutObjectAcl" in found


class TestCredential:
    def test_that_was_used_is_judged(self, service: Service) -> None:
        device = service.device()
        own = f"users/{device.user_id}/"
        key_id = device.vend(access="write", path="albums/").json()["access_key_id"]
        for action, key, reason, said in (
            ("s3:PutObject", f"{own}albums/a.jpg", "allowed", ""),
            ("s3:PutObject", f"{own}a.jpg", "session_policy", "outside that folder"),
            ("s3:GetObject", f"{own}albums/a.jpg", "session_policy", "the access `write`"),
        ):
            found = ask(device, action, key, access_key_id=key_id)
            assert (found["reason"], said in found["detail"]) == (reason, True)

    def test_of_any_access_lists_no_versions(self, service: Service) -> None:
        """The role may, for the count of old versions. To ask for another access would not help the app."""
        device = service.device()
        found = ask(device, "s3:ListObjectVersions", f"users/{device.user_id}/")
        assert (found["reason"], found["detail"]) == (
            "session_policy",
            "No credential of this service allows this action.",
        )

    def test_that_is_over_says_so(self, service: Service) -> None:
        device = service.device()
        key_id = device.vend().json()["access_key_id"]
        service.clock.advance(seconds=3600)
        device = service.device(device.email)
        found = ask(device, "s3:GetObject", "x", access_key_id=key_id)
        assert (found["reason"], found["statement"]) == ("expired", None)

    def test_that_was_revoked_says_from_when_on(self, make_service: Callable[..., Service]) -> None:
        service = make_service(revocation="role_policy", iam_endpoint_url="http://127.0.0.1:1")
        device = service.device()
        key_id = device.vend().json()["access_key_id"]
        revoked = device.post("/v1/credentials/revoke").json()
        found = ask(device, "s3:GetObject", f"users/{device.user_id}/a.jpg", access_key_id=key_id)
        assert found["reason"] == "revoked"
        assert re.search(r"from \S+Z at the latest", found["detail"])
        assert revoked["revoked"] == 1

    def test_of_another_user_looks_like_an_absent_one(self, service: Service) -> None:
        """AZ2."""
        device = service.device()
        key_id = service.device().vend().json()["access_key_id"]
        question = {"action": "s3:GetObject", "key": "x"}
        answers = [
            device.post("/v1/access-checks", json={**question, "access_key_id": some})
            for some in (key_id, "ASIAEXAMPLEEXAMPLE01")
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert without_request_id(answers[0]) == without_request_id(answers[1])


class TestRequest:
    @pytest.mark.parametrize("action", ["", "GetObject", "s3:", "s3:Get*", "s3:Get Object", "ec2:RunInstances", "s3:é"])
    def test_is_about_an_action_of_s3(self, device: Device, action: str) -> None:
        answer = device.post("/v1/access-checks", json={"action": action, "key": "x"})
        assert (answer.status_code, answer.json()["errors"][0]["location"]) == (422, "body.action")

    def test_asks_neither_the_engine_nor_the_bucket(self, shared: Service, device: Device) -> None:
        before = len(shared.sts.requests)
        ask(device, "s3:GetObject", f"users/{uuid.uuid4()}/a.jpg")
        assert len(shared.sts.requests) == before

    def test_is_limited(self, make_on_sqlite: Callable[..., Service]) -> None:
        device = make_on_sqlite(rate_limits="on").device()
        question = {"action": "s3:GetObject", "key": "x"}
        answers = [device.post("/v1/access-checks", json=question).status_code for _ in range(61)]
        assert answers == [200] * 60 + [429]


class TestRolePolicy:
    """By default that of the deployment."""

    def test_is_that_of_deploy_aws(self) -> None:
        encryption = Encryption(
            "arn:aws:kms:REGION:ACCOUNT:key/KMS-KEY-ID", "s3.REGION.amazonaws.com", bucket_keys=False
        )
        texts = [
            (DEPLOY / "aws" / f"vending-role-permissions{kind}.json").read_text().replace("BUCKET", "bucket")
            for kind in ("", "-kms")
        ]
        given = [statement for text in texts for statement in json.loads(text)["Statement"]]
        assert self.alike(role_policy(Bucket("aws", "bucket", encryption))["Statement"]) == self.alike(given)

    @pytest.mark.parametrize("policy", ["VendedObjects", "VendedBoundary"])
    @pytest.mark.parametrize("template", ["storage.yaml", "web-identity.yaml", "saml.yaml"])
    @pytest.mark.parametrize(("tags", "location"), [("read", False), ("write", True)])
    def test_is_that_of_the_templates(self, template: str, policy: str, tags: Tags, location: bool) -> None:
        """By the parameters that the operator sets as the settings."""
        holds = {"WritesTags": tags == "write", "TellsLocation": location}
        made = chosen(resources(template)[policy]["Properties"]["PolicyDocument"]["Statement"], holds)
        given = [
            statement | {"Resource": f"arn:aws:s3:::photos{'/users/*' if statement['Sid'] == 'Objects' else ''}"}
            for statement in made
            if statement["Sid"] != "Encryption"
        ]
        bucket = Bucket("aws", "photos", tags=tags, location=location)
        assert self.alike(given) == self.alike(role_policy(bucket)["Statement"])
        assert '/users/*"' in json.dumps(made[0]["Resource"])

    def alike(self, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {name: sorted(value) if isinstance(value, list) else value for name, value in statement.items()}
            for statement in statements
        ]

    def test_may_be_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        document = '{"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}'
        (tmp_path / "policy.json").write_text(document)
        monkeypatch.setenv(f"{PREFIX}ROLE_POLICY", str(tmp_path / "policy.json"))
        assert load_settings().role_policy == document

    @pytest.mark.parametrize("value", ["/nowhere/policy.json", "{", "{}", '{"Statement": [1]}'])
    def test_that_is_none_is_refused(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(f"{PREFIX}ROLE_POLICY", value)
        with pytest.raises(SettingsError, match="TOKENVEND_ROLE_POLICY: must be a policy document"):
            load_settings()


class TestShares:
    def test_what_the_credential_carries_is_read_and_nothing_else(self, service: Service) -> None:
        ada, bob = service.device(), service.device()
        grant = {"grantee_email": bob.email, "path": "albums/2026/"}
        grant_id = ada.post("/v1/grants", json=grant).json()["grant_id"]
        assert bob.post(f"/v1/grants/received/{grant_id}/accept").status_code == 204
        folder = f"users/{ada.user_id}/albums/2026/"
        carrying = bob.vend(include_shared=True).json()["access_key_id"]
        plain = bob.vend().json()["access_key_id"]

        found = ask(bob, "s3:GetObject", f"{folder}a.jpg", access_key_id=carrying)
        assert (found["reason"], json.loads(found["statement"])["Sid"]) == ("allowed", "Shared")
        assert ask(bob, "s3:ListBucket", folder, access_key_id=carrying)["allowed"]
        assert not ask(bob, "s3:PutObject", f"{folder}a.jpg", access_key_id=carrying)["allowed"]
        assert not ask(bob, "s3:GetObject", f"users/{ada.user_id}/a.jpg", access_key_id=carrying)["allowed"]
        found = ask(bob, "s3:GetObject", f"{folder}a.jpg", access_key_id=plain)
        assert (found["reason"], "include_shared" in found["detail"]) == ("session_policy", True)

"""What STS is sent in each vending mode, whole, against golden files: a form with one member more fails."""

import functools
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from app.compose import Runtime, build_runtime
from app.vending.identity_token import AUDIENCE, SUBJECT
from tests.aws.calling import run, static_session
from tests.support.canned_sts import CannedSts
from tests.support.service import ROLE_ARN, running_service, test_settings
from tests.vending.saml_service import running_saml, sts_of

GOLDEN = Path(__file__).parent / "golden"
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
SESSION = uuid.UUID("7d1f0a52-93f4-4c1e-8b6d-52c0a1b2c3d4")
EVERYTHING = {
    "external_id": "partner-7",
    "session_tags": "user_id,session_id,access,tier=gold",
    "transitive_tag_keys": "user_id,tier",
    "policy_arns": "arn:aws:iam::aws:policy/AmazonRekognitionReadOnlyAccess",
}
SETTINGS: dict[str, dict[str, str]] = {
    "assume_role": {"vending_mode": "assume_role"},
    "assume_role.everything": {"vending_mode": "assume_role", **EVERYTHING},
    "assume_role.no_source_identity": {"vending_mode": "assume_role", "source_identity": "off"},
    "federation_token": {"vending_mode": "federation_token"},
    "federation_token.everything": {"vending_mode": "federation_token", **EVERYTHING},
}


@functools.cache
def described() -> Any:
    """The SDK's own description of STS."""
    return boto3.client("sts", region_name="us-east-1").meta.service_model


def golden(name: str) -> dict[str, Any]:
    form: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return form


def session_name(form: dict[str, Any]) -> str:
    name: str = form["attributes"]["RoleSessionName"][0] if "attributes" in form else form["RoleSessionName"]
    return name


async def vend(runtime: Runtime) -> None:
    order = runtime.vending.make_order(USER, SESSION, access="read_write", path="", duration=3600)
    await runtime.vending.broker.obtain(order)


class TestForm:
    @pytest.mark.parametrize("client", ["signed", "boto3"])
    @pytest.mark.parametrize("name", SETTINGS)
    def test_is_as_it_was(self, sts: CannedSts, name: str, client: str) -> None:
        async def story() -> None:
            nowhere = f"sqlite:///{os.devnull}"
            settings = test_settings(
                database_url=nowhere, sts_endpoint_url=sts.url, sts_client=client, **SETTINGS[name]
            )
            runtime = build_runtime(settings, aws=static_session())
            try:
                await vend(runtime)
            finally:
                await runtime.close()

        run(story)
        assert sts.forms == [golden(name)]
        assert "authorization" in sts.requests[0].headers

    @pytest.mark.parametrize("name", ["web_identity", "web_identity.everything"])
    def test_of_web_identity_is_as_it_was_but_for_its_token(self, database_url: str, name: str) -> None:
        changes = EVERYTHING if name.endswith(".everything") else {}
        with running_service(database_url, vending_mode="web_identity", **changes) as service:
            portal = service.client.portal
            assert portal is not None
            portal.call(vend, service.runtime)
            keys = KeySet.import_key_set(service.client.get("/sts/jwks.json").json())
            (form,) = service.sts.forms
            (request,) = service.sts.requests
            now = service.clock.now().timestamp()
        token = jwt.decode(form.pop("WebIdentityToken"), keys, algorithms=["ES256"])
        expected = golden(name)
        claims = expected.pop("claims")
        assert form == expected
        assert "authorization" not in request.headers
        assert uuid.UUID(token.claims.pop("jti")).version == 4
        times = {"iat": int(now), "exp": int(now) + 60}
        assert token.claims == claims | times | {"aud": AUDIENCE, "sub": SUBJECT, "iss": "http://testserver/sts"}

    @pytest.mark.parametrize("name", ["saml", "saml.everything"])
    def test_of_saml_is_as_it_was_but_for_its_assertion(self, database_url: str, name: str) -> None:
        changes = EVERYTHING if name.endswith(".everything") else {}
        with running_saml(database_url, **changes) as service:
            portal = service.client.portal
            assert portal is not None
            portal.call(vend, service.runtime)
            (form,), (request,), (session,) = service.sts.forms, service.sts.requests, sts_of(service).sessions
        expected = golden(name)
        assert form.pop("SAMLAssertion")
        assert session.attributes == expected.pop("attributes")
        assert form == expected
        assert "authorization" not in request.headers
        assert session.subject == str(USER)

    def test_has_a_golden_file_for_each_mode_and_no_other(self) -> None:
        assert {file.name.removesuffix(".json") for file in GOLDEN.iterdir()} == {
            *SETTINGS,
            "web_identity",
            "web_identity.everything",
            "saml",
            "saml.everything",
        }


class TestGoldenForms:
    """They are what AWS takes: its limits, as documented for each action."""

    @pytest.mark.parametrize("file", sorted(GOLDEN.iterdir()), ids=lambda file: file.stem)
    def test_keeps_the_limits(self, file: Path) -> None:
        form = golden(file.stem)
        assert len(form["Policy"]) <= 2048
        assert form["Policy"].isascii()
        assert json.loads(form["Policy"])["Statement"]
        name, longest = (form["Name"], 32) if "Name" in form else (session_name(form), 64)
        assert re.fullmatch(rf"[\w+=,.@-]{{2,{longest}}}", name, re.ASCII)
        assert form.get("RoleArn") == (None if "Name" in form else ROLE_ARN)

    @pytest.mark.parametrize("file", sorted(GOLDEN.iterdir()), ids=lambda file: file.stem)
    def test_names_only_what_the_api_has(self, file: Path) -> None:
        form = golden(file.stem)
        members = described().operation_model(form["Action"]).input_shape.members
        named = {name.partition(".")[0] for name in form} - {"Action", "Version", "claims", "attributes"}
        assert named <= set(members)

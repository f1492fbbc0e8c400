"""`web_identity` mode, where this service is an OIDC issuer that STS trusts: nobody else gets hold of its tokens."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from httpx2 import Client
from joserfc import jwt
from joserfc.jwk import ECKey

from app import engine
from app.auth import keys
from app.auth.keys import KeyPurpose
from app.cli.development import Place, _web_identity
from app.compose import Runtime, build_runtime
from app.http import server
from app.main import create_app
from app.vending.identity_token import AUDIENCE, SUBJECT
from tests.journeys.deployment import PASSWORD, Answer, Deployment, Keys
from tests.support.databases import SqliteDatabases
from tests.support.service import SECRET_KEY, test_settings

pytestmark = pytest.mark.xdist_group("live web identity")

JWT_SHAPE = re.compile(r"eyJ[\w-]+\.[\w-]*\.?[\w-]*")
"""Of a token, or the beginning of one."""
ROOT = Path(__file__).parents[2]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HARMLESS = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": ["*"], "Resource": ["*"]}]})


def unb64(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private_key(runtime: Runtime, purpose: KeyPurpose) -> tuple[str, ECKey]:
    """Key id and private key that sign now: stolen, as it were."""
    row = runtime.platform.database.run("read", keys.list_keys, purpose)[-1]
    pem = runtime.platform.vault.decrypt(keys.SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
    return row.kid, ECKey.import_key(pem)


@dataclass
class Live:
    """The service and its engine; a user is signed in, and has a credential."""

    runtime: Runtime
    deployment: Deployment
    loop: asyncio.AbstractEventLoop
    http: Client
    tokens: dict[str, Any]
    vended: dict[str, Any]

    def assume(self, token: str) -> Answer:
        """What the engine answers to who presents the token, without any key."""
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": self.runtime.platform.settings.role_arn,
            "RoleSessionName": "intruder",
            "Policy": HARMLESS,
            "WebIdentityToken": token,
        }
        return self.deployment.send(None, "POST", "/", body=urlencode(form).encode(), headers=FORM)

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those that the role's trust policy asks for."""
        now = int(self.runtime.platform.clock.now().timestamp())
        issuer = f"{self.deployment.url}/sts"
        right = {"iss": issuer, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
        return right | changed

    def signed(self, claims: dict[str, Any], purpose: KeyPurpose, *, kid: str | None = None, typ: str = "JWT") -> str:
        own_kid, key = private_key(self.runtime, purpose)
        return jwt.encode({"alg": "ES256", "typ": typ, "kid": kid or own_kid}, claims, key)

    def kid(self, purpose: KeyPurpose) -> str:
        return private_key(self.runtime, purpose)[0]

    def hmacked(self, claims: dict[str, Any], purpose: KeyPurpose, form: str) -> str:
        """With a public key for the secret (RFC 8725 §2.1)."""
        kid, key = private_key(self.runtime, purpose)
        secret = key.as_pem(private=False) if form == "pem" else key.as_der(private=False)
        content = self.content({"alg": "HS256", "kid": kid}, claims)
        return f"{content}.{b64(hmac.new(secret, content.encode(), hashlib.sha256).digest())}"

    @staticmethod
    def content(header: dict[str, Any], claims: dict[str, Any]) -> str:
        return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"

    @property
    def access_token(self) -> str:
        return str(self.tokens["access_token"])

    @property
    def access_claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = unb64(self.access_token.split(".")[1])
        return claims

    def retyped(self, **header: Any) -> str:
        """The access token under another header, with its own signature."""
        old, claims, signature = self.access_token.split(".")
        return f"{b64(json.dumps(unb64(old) | header).encode())}.{claims}.{signature}"

    def reload(self) -> None:
        """What the service does once a minute."""
        asyncio.run_coroutine_threadsafe(self.runtime.sts_keyring.load(), self.loop).result(10)


@pytest.fixture(scope="module")
def live(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    directory = tmp_path_factory.mktemp("web-identity")
    with server.bind("127.0.0.1", 0) as listener:
        place = Place("127.0.0.1", listener.getsockname()[1], "127.0.0.1")
        url = place.url
        with engine.start(directory / "engine", web_identity=_web_identity(url, place)) as running:
            settings = test_settings(
                vending_mode="web_identity",
                database_url=sqlite_databases.create(directory),
                public_url=url,
                bucket=running.bucket,
                role_arn=running.role_arn,
                sts_endpoint_url=running.endpoint_url,
                s3_endpoint_url=running.endpoint_url,
                s3_force_path_style=True,
            )
            runtime = build_runtime(settings)
            serving = Serving(uvicorn.Config(create_app(settings, runtime), log_config=None, lifespan="on"))
            thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            assert serving.is_up.wait(20)
            owner = Keys(running.owner_access_key_id, running.owner_secret_access_key)
            deployment = Deployment(url, running.endpoint_url, running.bucket, owner)
            try:
                with Client(base_url=url, timeout=20) as http:
                    account = {"email": "ada@example.org", "password": PASSWORD}
                    assert http.post("/v1/users", json=account).status_code == 201
                    tokens = http.post("/v1/auth/login", json=account).json()["tokens"]
                    http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                    answer = http.post("/v1/credentials", json={})
                    assert answer.status_code == 200, answer.text
                    yield Live(runtime, deployment, serving.loop, http, tokens, answer.json())
            finally:
                serving.should_exit = True
                thread.join(20)


class Serving(uvicorn.Server):
    """Says when it is up, and on which event loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.is_up.set()


Forge = Callable[[Live], str]
OBTAINABLE: dict[str, Forge] = {
    "access token": lambda live: live.access_token,
    "refresh token": lambda live: live.tokens["refresh_token"],
    "session token of a credential": lambda live: live.vended["session_token"],
    "access key id of a credential": lambda live: live.vended["access_key_id"],
    "credential id": lambda live: live.vended["credential_id"],
    "nothing": lambda live: "",
}
"""All that a client ever holds."""
CHANGED: dict[str, Forge] = {
    "typ JWT": lambda live: live.retyped(typ="JWT"),
    "no typ": lambda live: live.retyped(typ=None),
    "kid of the other ring": lambda live: live.retyped(kid=live.kid("sts")),
    "alg none": lambda live: live.retyped(alg="none"),
    "alg none, not signed": lambda live: live.content({"alg": "none", "kid": live.kid("sts")}, live.claims()) + ".",
    "alg HS256": lambda live: live.retyped(alg="HS256"),
    "HS256 by the PEM of an access key": lambda live: live.hmacked(live.access_claims, "access", "pem"),
    "HS256 by the PEM, claims for STS": lambda live: live.hmacked(live.claims(), "sts", "pem"),
    "HS256 by the DER, claims for STS": lambda live: live.hmacked(live.claims(), "sts", "der"),
    "another key under our kid": lambda live: jwt.encode(
        {"alg": "ES256", "kid": live.kid("sts")}, live.claims(), ECKey.generate_key("P-256")
    ),
}
"""What a client can make of it."""
MISUSED: dict[str, Forge] = {
    "access claims, retyped": lambda live: live.signed(live.access_claims, "access"),
    "access claims, audience of STS": lambda live: live.signed(live.access_claims | {"aud": AUDIENCE}, "access"),
    "access claims, audience and subject of STS": lambda live: live.signed(
        live.access_claims | {"aud": AUDIENCE, "sub": SUBJECT}, "access"
    ),
    "all claims for STS": lambda live: live.signed(live.claims(), "access"),
    "all claims for STS, kid of its ring": lambda live: live.signed(live.claims(), "access", kid=live.kid("sts")),
    "claims for STS, issuer of access tokens": lambda live: live.signed(live.claims(iss=live.deployment.url), "access"),
    "claims for STS, issuer of access tokens, key of STS's": lambda live: live.signed(
        live.claims(iss=live.deployment.url), "sts"
    ),
    "claims of an access token, key of STS's": lambda live: live.signed(live.access_claims, "sts"),
}
"""What the service itself would have to be made to sign."""


def tried(forges: dict[str, Forge]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("forge", [pytest.param(forge, id=name) for name, forge in forges.items()])


class TestTokensOfClients:
    def test_the_call_is_right_in_all_but_the_token(self, live: Live) -> None:
        """VC10: what is refused below is refused for its token alone."""
        answer = live.assume(live.signed(live.claims(), "sts"))
        assert (answer.status, b"SecretAccessKey" in answer.body) == (200, True)

    @tried(OBTAINABLE | CHANGED | MISUSED)
    def test_are_refused_by_the_engine(self, live: Live, forge: Forge) -> None:
        """VC10: AssumeRoleWithWebIdentity takes none that a client can obtain, change, or talk us into signing."""
        answer = live.assume(forge(live))
        assert answer.status in (400, 403)
        assert answer.code in ("AccessDenied", "InvalidParameterValue", "MissingParameter")
        assert b"AccessKey" not in answer.body

    @pytest.mark.slow("it starts the service")
    def test_are_all_that_the_public_pages_could_give(self, live: Live) -> None:
        """VC10: no token but the examples of the document, whose keys are gone, and no private part of a key."""
        examples = (ROOT / "deploy" / "sdk" / "openapi.json").read_text(encoding="utf-8")
        pages = ("/metrics", "/.well-known/openid-configuration", "/.well-known/jwks.json")
        for page in (*pages, "/sts/.well-known/openid-configuration", "/sts/jwks.json", "/readyz", "/openapi.json"):
            answer = live.http.get(page)
            assert answer.status_code == 200
            known = examples if page == "/openapi.json" else ""
            assert not [token for token in JWT_SHAPE.findall(answer.text) if token not in known]
            assert not JWT_SHAPE.search(str(answer.headers))
            assert '"d":' not in answer.text


@pytest.mark.all
class TestKeyRings:
    def test_share_no_key(self, live: Live) -> None:
        """VC10, TK18: a key that signs for clients never signs for STS; both lists are public parts only."""
        of_clients = live.http.get("/.well-known/jwks.json").json()["keys"]
        of_sts = live.http.get("/sts/jwks.json").json()["keys"]
        assert of_clients
        assert of_sts
        for member in ("kid", "x"):
            assert not {key[member] for key in of_clients} & {key[member] for key in of_sts}
        assert {*of_sts[0]} == {"kty", "crv", "x", "y", "use", "alg", "kid"}

    def test_rotate_each_on_its_own(self, live: Live) -> None:
        """VC10, TK18: `keys rotate --purpose sts` leaves access tokens alone, and the engine follows the new key."""
        before = live.http.get("/.well-known/jwks.json").json(), live.http.get("/sts/jwks.json").json()
        old = live.signed(live.claims(), "sts")
        told = rotate(live)
        live.reload()
        after = live.http.get("/.well-known/jwks.json").json(), live.http.get("/sts/jwks.json").json()
        assert "signs from" in told
        assert after[0] == before[0]
        assert len(after[1]["keys"]) == 1
        assert after[1] != before[1]
        answer = live.http.post("/v1/credentials", json={"path": "after-rotation/"})
        assert answer.status_code == 200, answer.text
        assert live.assume(old).status == 403  # its key is published no more


def rotate(live: Live) -> str:
    """`tokenvend keys rotate --purpose sts --now`, on the service's database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    environment |= {
        "TOKENVEND_DATABASE_URL": live.runtime.platform.settings.database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_VENDING_MODE": "web_identity",
    }
    command = [sys.executable, "-m", "app", "keys", "rotate", "--purpose", "sts", "--now"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Users of a Cognito user pool bring their passwords along: once each, the right ones, and nobody else's.

The pool is moto's server, in a process of its own.
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from app.auth.old_system import Known, OldSystem
from app.crypto.encoding import b64url
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, without_request_id
from tests.support.clock import ManualClock
from tests.support.issuer import Issuer
from tests.support.odd_http import OddServer, http
from tests.support.old_system import guides_block, guides_endpoint
from tests.support.outside import Outside, trusting
from tests.support.ports import free_port
from tests.support.service import PASSWORD, Service

REGION = "us-east-1"


@dataclass
class Pool:
    url: str
    client: Any
    pool_id: str
    client_id: str
    client_secret: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "cognito_client_id": self.client_id,
            "cognito_client_secret": self.client_secret,
            "cognito_endpoint_url": self.url,
        }

    def add(
        self,
        email: str,
        password: str = PASSWORD,
        *,
        verified: bool = True,
        permanent: bool = True,
        username: str | None = None,
    ) -> None:
        username = username or email
        attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": str(verified).lower()}]
        self.client.admin_create_user(
            UserPoolId=self.pool_id,
            Username=username,
            UserAttributes=attributes,
            TemporaryPassword=password,
            MessageAction="SUPPRESS",
        )
        if permanent:
            self.client.admin_set_user_password(
                UserPoolId=self.pool_id, Username=username, Password=password, Permanent=True
            )


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


@pytest.fixture
def make_pool(moto_server: str) -> Callable[..., Pool]:
    client = boto3.client(
        "cognito-idp",
        endpoint_url=moto_server,
        region_name=REGION,
        aws_access_key_id="AKIATESTTESTTEST",
        aws_secret_access_key="test",
    )

    def make(*, with_secret: bool = False, by_username: bool = False, flow: str = "ALLOW_USER_PASSWORD_AUTH") -> Pool:
        for _ in range(100):
            try:
                made = client.create_user_pool(
                    PoolName=uuid.uuid4().hex,
                    UsernameAttributes=[] if by_username else ["email"],
                    Policies={
                        "PasswordPolicy": {
                            "MinimumLength": 6,
                            "RequireUppercase": False,
                            "RequireLowercase": False,
                            "RequireNumbers": False,
                            "RequireSymbols": False,
                        }
                    },
                )
                break
            except EndpointConnectionError:
                time.sleep(0.1)
        pool_id = made["UserPool"]["Id"]
        app = client.create_user_pool_client(
            UserPoolId=pool_id,
            ClientName="photos",
            GenerateSecret=with_secret,
            ExplicitAuthFlows=[flow],
            ReadAttributes=["email", "email_verified"],  # Cognito's default; moto's is none
        )["UserPoolClient"]
        return Pool(moto_server, client, pool_id, app["ClientId"], app.get("ClientSecret", ""))

    return make


@pytest.fixture
def pool(make_pool: Callable[..., Pool]) -> Pool:
    return make_pool()


@pytest.fixture
def cheap(hashing: CountingContext) -> CountingContext:
    return hashing


@pytest.fixture
def service(make_service: Callable[..., Service], pool: Pool, cheap: CountingContext) -> Service:
    return make_service(**pool.settings)


def imported(service: Service, *emails: str, **columns: str) -> None:
    admin = service.staff(email="zoe@example.org")
    names = ["email", *columns]
    text = "\n".join([",".join(names), *(",".join([email, *columns.values()]) for email in emails)])
    answer = service.client.post(
        "/v1/admin/user-imports?source=cognito",
        content=text,
        headers={**admin.headers, "Content-Type": "text/csv"},
    )
    assert answer.json()["created"] == len(emails), answer.text


def user(service: Service, email: str) -> Any:
    columns = "id, password_hash, password_from, email_verified_at, status, role"
    (row,) = service.sql(f"SELECT {columns} FROM users WHERE email = :email", email=email)
    return row


def events(service: Service, event: str) -> int:
    return int(
        service.sql("SELECT count(*) FROM audit_events WHERE event = :event AND outcome = 'done'", event=event)[0][0]
    )


@pytest.mark.both_databases
class TestFirstSignIn:
    """IM8"""

    def test_who_was_imported_keeps_account_and_password(self, service: Service, pool: Pool) -> None:
        imported(service, "ada@example.org")
        before = user(service, "ada@example.org")
        assert (before.password_hash, before.password_from) == (None, "cognito")
        pool.add("ada@example.org")
        assert_problem(service.log_in("ada@example.org", "wrong password"), 401, "invalid_login")
        assert user(service, "ada@example.org") == before
        assert service.log_in("ADA@example.org").status_code == 200
        after = user(service, "ada@example.org")
        assert after.id == before.id
        assert (after.password_from, after.password_hash[:10]) == (None, "$argon2id$")
        assert after.email_verified_at is not None
        assert events(service, "password.migrated") == 1

    def test_who_was_not_gets_an_account(self, service: Service, pool: Pool) -> None:
        pool.add("ada@example.org", "short1")  # weaker than a new one may be
        assert_problem(service.log_in("ada@example.org", "wrong password"), 401, "invalid_login")
        assert service.sql("SELECT count(*) FROM users")[0][0] == 0
        assert service.log_in("ada@example.org", "short1").status_code == 200
        row = user(service, "ada@example.org")
        assert (row.role, row.status, row.email_verified_at is not None) == ("user", "active", True)
        assert (events(service, "user.registered"), events(service, "password.migrated")) == (1, 1)

    def test_cognito_is_not_asked_again(self, service: Service, pool: Pool) -> None:
        """Neither its later passwords nor its end matter then."""
        pool.add("ada@example.org")
        assert service.log_in("ada@example.org").status_code == 200
        pool.client.admin_set_user_password(
            UserPoolId=pool.pool_id, Username="ada@example.org", Password="another one", Permanent=True
        )
        assert_problem(service.log_in("ada@example.org", "another one"), 401, "invalid_login")
        assert service.log_in("ada@example.org").status_code == 200

    def test_an_app_client_may_have_a_secret(
        self, make_service: Callable[..., Service], make_pool: Callable[..., Pool], cheap: CountingContext
    ) -> None:
        pool = make_pool(with_secret=True)
        assert pool.client_secret
        pool.add("ada@example.org")
        assert make_service(**pool.settings).log_in("ada@example.org").status_code == 200

    @pytest.mark.parametrize("known", [False, True])
    def test_of_twenty_at_once_one_makes_the_account(self, service: Service, pool: Pool, known: bool) -> None:
        pool.add("ada@example.org")
        if known:
            imported(service, "ada@example.org")
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: service.log_in("ada@example.org"), range(20)))
        assert {answer.status_code for answer in answers} <= {200, 503}  # a loaded machine's database
        assert sum(answer.status_code == 200 for answer in answers) > 1
        assert service.sql("SELECT count(*) FROM users WHERE email = 'ada@example.org'")[0][0] == 1
        assert events(service, "password.migrated") == 1


@contextmanager
def answering(status: str, body: dict[str, Any]) -> Iterator[OddServer]:
    """A pool that says the same to every question."""
    with closing(OddServer(http(status, json.dumps(body).encode()))) as odd:
        yield odd


class TestRefusals:
    """IM8"""

    def test_an_address_that_is_not_verified_there_is_nobodys(self, service: Service, pool: Pool) -> None:
        imported(service, "ada@example.org")
        for email in ("ada@example.org", "grace@example.org"):
            pool.add(email, verified=False)
            assert_problem(service.log_in(email), 401, "invalid_login")
        assert user(service, "ada@example.org").password_hash is None
        assert service.sql("SELECT count(*) FROM users")[0][0] == 2

    def test_a_name_that_looks_like_an_address_is_none(
        self, make_service: Callable[..., Service], make_pool: Callable[..., Pool], cheap: CountingContext
    ) -> None:
        """Where people choose their user names, a stranger may have chosen somebody's address."""
        pool = make_pool(by_username=True)
        service = make_service(**pool.settings)
        imported(service, "ada@example.org")
        pool.add("mallory@example.org", username="ada@example.org")
        assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")
        assert user(service, "ada@example.org").password_hash is None

    @pytest.mark.parametrize("known", [False, True])
    def test_an_address_is_one_however_it_is_typed(
        self, make_service: Callable[..., Service], make_pool: Callable[..., Pool], cheap: CountingContext, known: bool
    ) -> None:
        """Pools ignore case where they are told to. Mail goes to the spelling that was verified there (AU20)."""
        pool = make_pool(by_username=True)
        service = make_service(**pool.settings)
        typed = "Ada@example.org"
        if known:
            imported(service, typed)
        pool.add("ada@example.org", username=typed)
        assert service.log_in(typed).status_code == 200
        assert user(service, "ada@example.org").password_hash is not None

    def test_a_challenge_is_no_sign_in(self, service: Service, pool: Pool) -> None:
        imported(service, "ada@example.org")
        pool.add("ada@example.org", permanent=False)
        assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")
        assert user(service, "ada@example.org").password_hash is None

    def test_who_is_disabled_on_either_side_stays_out(self, service: Service, pool: Pool) -> None:
        imported(service, "ada@example.org", enabled="false")
        pool.add("ada@example.org")
        pool.add("grace@example.org")
        pool.client.admin_disable_user(UserPoolId=pool.pool_id, Username="grace@example.org")
        for email in ("ada@example.org", "grace@example.org"):
            assert_problem(service.log_in(email), 401, "invalid_login")
        assert user(service, "ada@example.org").password_hash is None
        assert service.sql("SELECT count(*) FROM users")[0][0] == 2

    def test_who_has_another_way_in_gets_no_password(self, service: Service, pool: Pool) -> None:
        """By passkey, by outside identity, and who came to Cognito by Google."""
        imported(service, "ada@example.org", user_status="EXTERNAL_PROVIDER")
        pool.add("ada@example.org")
        assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")
        assert user(service, "ada@example.org").password_hash is None

    def test_who_signed_in_another_way_gets_no_password(
        self, make_service: Callable[..., Service], pool: Pool, cheap: CountingContext
    ) -> None:
        """Who was imported, and came by an outside identity: what they forgot there opens nothing here."""
        clock = ManualClock()
        with closing(Issuer(clock)) as issuer:
            service = make_service(clock=clock, oidc_providers=trusting(issuer), **pool.settings)
            imported(service, "ada@example.org", email_verified="true")
            pool.add("ada@example.org")
            Outside(service, issuer).device(email="ada@example.org", email_verified=True)
            assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")
            assert user(service, "ada@example.org")[1:3] == (None, None)

    def test_a_password_that_was_set_here_ends_it(self, service: Service, pool: Pool) -> None:
        imported(service, "ada@example.org")
        pool.add("ada@example.org", "the one there")
        service.client.post("/v1/password-resets", json={"email": "ada@example.org"})
        token = service.mails("ada@example.org")[-1].token
        body = {"token": token, "new_password": PASSWORD}
        assert service.client.post("/v1/password-resets/confirm", json=body).status_code == 204
        assert user(service, "ada@example.org").password_from is None
        assert_problem(service.log_in("ada@example.org", "the one there"), 401, "invalid_login")
        assert service.log_in("ada@example.org").status_code == 200

    def test_all_refusals_are_one_answer_after_the_same_work(
        self, service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch, cheap: CountingContext
    ) -> None:
        """AU9: unknown here, awaited here, known here: a hash, and Cognito's time."""
        imported(service, "ada@example.org")
        service.register("grace@example.org")
        waited: list[str] = []
        find_user, linger = OldSystem.find_user, OldSystem.linger

        async def asked(self: OldSystem, email: str, password: str) -> Known | None:
            waited.append("asked")
            return await find_user(self, email, password)

        async def lingered(self: OldSystem) -> None:
            waited.append("lingered")
            await linger(self)

        monkeypatch.setattr(OldSystem, "find_user", asked)
        monkeypatch.setattr(OldSystem, "linger", lingered)
        verified = len(cheap.verified)
        emails = ("nobody@example.org", "ada@example.org", "grace@example.org")
        answers = [without_request_id(service.log_in(email, "wrong password")) for email in emails]
        assert answers[0] == answers[1] == answers[2]
        assert waited == ["asked", "asked", "lingered"]
        assert len(cheap.verified) == verified + 3

    def test_a_wrong_password_of_an_emulator_is_one(
        self, make_service: Callable[..., Service], cheap: CountingContext
    ) -> None:
        with answering("400 Bad Request", {"__type": "InvalidPasswordException"}) as odd:
            service = make_service(cognito_client_id="abc", cognito_endpoint_url=odd.url)
            assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.bnVsbA.c", None])
    def test_a_right_password_whose_answer_lacks_the_address_looks_like_a_wrong_one(
        self, make_service: Callable[..., Service], cheap: CountingContext, token: str | None
    ) -> None:
        """AU9: nothing that comes after the password was checked there ends in another answer."""
        answers = []
        for status, body in (
            ("200 OK", {"AuthenticationResult": {"IdToken": token}}),
            ("400 Bad Request", {"__type": "NotAuthorizedException"}),
        ):
            with answering(status, body) as odd:
                service = make_service(cognito_client_id="abc", cognito_endpoint_url=odd.url)
                answers.append(without_request_id(service.log_in("ada@example.org")))
                assert odd.requests == 1
        assert answers[0] == answers[1]

    def test_a_right_password_is_the_one_question(
        self, make_service: Callable[..., Service], cheap: CountingContext
    ) -> None:
        """AU9: a second one could fail, which only those with a right password would see."""
        claims = b64url(json.dumps({"email": "ada@example.org", "email_verified": True}).encode())
        with answering("200 OK", {"AuthenticationResult": {"IdToken": f"a.{claims}.c"}}) as odd:
            service = make_service(cognito_client_id="abc", cognito_endpoint_url=odd.url)
            assert service.log_in("ada@example.org").status_code == 200
            assert odd.requests == 1

    def test_a_failure_there_is_a_guess_here(
        self, make_service: Callable[..., Service], pool: Pool, cheap: CountingContext
    ) -> None:
        """AU7, AU8"""
        service = make_service(**pool.settings, rate_limits="on", trusted_proxies=("127.0.0.1",))
        pool.add("ada@example.org")
        for number in range(60):
            answer = service.client.post(
                "/v1/auth/login",
                json={"email": "ada@example.org", "password": f"wrong {number}"},
                headers={"X-Forwarded-For": f"198.51.100.{number}"},
            )
            assert_problem(answer, 401, "invalid_login")
        assert_problem(service.log_in("ada@example.org"), 429, "rate_limited")


class TestRecipe:
    def test_asks_cognito_with_permissions_alone(
        self,
        make_service: Callable[..., Service],
        make_pool: Callable[..., Pool],
        cheap: CountingContext,
        tmp_path: Path,
    ) -> None:
        """The guide's endpoint, for a pool whose app clients do not let everybody try passwords."""
        pool = make_pool(flow="ALLOW_ADMIN_USER_PASSWORD_AUTH")
        environment = {
            "USER_POOL_ID": pool.pool_id,
            "CLIENT_ID": pool.client_id,
            "AWS_ENDPOINT_URL": pool.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        code = guides_block("admin_initiate_auth")
        with guides_endpoint(tmp_path, code, environment=environment) as old:
            service = make_service(clock=ManualClock(datetime.now(UTC)), **old.settings)
            pool.add("ada@example.org")
            pool.add("grace@example.org", permanent=False)
            assert_problem(service.log_in("ada@example.org", "wrong password"), 401, "invalid_login")
            assert_problem(service.log_in("nobody@example.org"), 401, "invalid_login")
            assert_problem(service.log_in("grace@example.org"), 401, "invalid_login")
            assert service.log_in("ada@example.org").status_code == 200
            assert user(service, "ada@example.org").email_verified_at is not None


class TestOutage:
    @pytest.fixture
    def service(self, make_service: Callable[..., Service], cheap: CountingContext) -> Service:
        """Of a pool whose address nobody listens at."""
        url = f"http://127.0.0.1:{free_port()}"
        proxy = {"rate_limits": "on", "trusted_proxies": ("127.0.0.1",)}
        return make_service(cognito_client_id="abc", cognito_endpoint_url=url, **proxy)

    def test_a_right_password_works_and_all_others_are_one_refusal_and_a_guess(self, service: Service) -> None:
        """AU7, AU9"""
        service.register("grace@example.org")
        for number in range(60):
            answer = service.client.post(
                "/v1/auth/login",
                json={"email": "ada@example.org", "password": PASSWORD},
                headers={"X-Forwarded-For": f"198.51.100.{number}"},
            )
            assert_problem(answer, 503, "user_pool_unavailable")
            assert answer.headers["retry-after"] == "5"
        assert_problem(service.log_in("ada@example.org"), 429, "rate_limited")
        assert_problem(service.log_in("grace@example.org", "wrong password"), 503, "user_pool_unavailable")
        assert service.log_in("grace@example.org").status_code == 200
        assert service.sql("SELECT count(*) FROM users")[0][0] == 1

    def test_an_app_client_that_does_not_exist_is_the_operators_fault(
        self, make_service: Callable[..., Service], pool: Pool, cheap: CountingContext
    ) -> None:
        service = make_service(**{**pool.settings, "cognito_client_id": "nothing"})
        assert_problem(service.log_in("ada@example.org"), 503, "user_pool_unavailable")

    def test_without_the_setting_nobody_is_asked(
        self, make_service: Callable[..., Service], cheap: CountingContext
    ) -> None:
        service = make_service()
        assert service.runtime.old_system is None
        assert_problem(service.log_in("ada@example.org"), 401, "invalid_login")


def test_no_log_has_the_password(service: Service, pool: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    """OP1"""
    pool.add("ada@example.org", "canary-8461-sings")
    for password in ("canary-8461-sings", "canary-8461-wrong"):
        service.log_in("ada@example.org", password)
    out, err = capfd.readouterr()
    assert "canary-8461" not in out + err

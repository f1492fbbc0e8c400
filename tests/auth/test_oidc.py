"""Signing in with an outside provider's ID token, on a real provider: what is believed, and what is not."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey, RSAKey

from app.auth import providers
from app.platform import fetcher
from app.platform.settings import OidcProvider
from tests.security.observed import assert_problem, row_counts, stored_values, without_request_id
from tests.security.races import all_at_once
from tests.security.test_authorization import GUARDED, call
from tests.support.clock import ManualClock
from tests.support.databases import SqliteDatabases
from tests.support.issuer import CLIENT_ID, DISCOVERY_PATH, KEYS_PATH, Issuer, SigningKey, b64, rsa_key, running_issuer
from tests.support.logged import capture_logs
from tests.support.outside import Outside, enable_totp, events, mails, trusting
from tests.support.service import Service, running_service


def verify_address(service: Service, email: str) -> None:
    service.sql("UPDATE users SET email_verified_at = created_at WHERE email = :email", email=email)


class TestSignIn:
    def test_makes_an_account_for_who_is_new(self, outside: Outside) -> None:
        device = outside.device()
        profile = device.get("/v1/me").json()
        assert (profile["email"], profile["email_verified"]) == ("ada@example.org", True)
        assert (profile["display_name"], profile["role"]) == ("Ada Lovelace", "user")
        assert profile["prefix"] == f"users/{profile['id']}/"
        assert device.vend().status_code == 200
        assert outside.service.sql("SELECT method FROM sessions") == [("oidc",)]
        assert outside.service.sql("SELECT guest, password_hash FROM users") == [(False, None)]
        assert events(outside.service, "user.registered") == ["done"]

    def test_leads_to_the_same_account_again(self, outside: Outside) -> None:
        """ID6: by issuer and subject, whatever address and name the provider tells next time (ASVS 10.5.2)."""
        first = outside.device()
        again = outside.device(email="lovelace@example.org", name="A. L.")
        assert again.user_id == first.user_id
        assert again.get("/v1/me").json()["email"] == "ada@example.org"
        assert again.get("/v1/me/identities").json()["items"][0]["email"] == "lovelace@example.org"

    def test_subjects_differ_in_case(self, outside: Outside) -> None:
        """ID6: `sub` is compared as it is (OpenID Connect Core §2)."""
        users = {outside.device(sub=sub, email=None).user_id for sub in ("abc", "ABC", "abc ", "Abc")}
        assert len(users) == 4

    def test_keeps_the_name_of_the_device(self, outside: Outside) -> None:
        tokens = outside.present(outside.token(), device_name="Ada's phone").json()["tokens"]
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        listed = outside.service.client.get("/v1/me/sessions", headers=bearer).json()
        assert [device["device_name"] for device in listed["items"]] == ["Ada's phone"]

    @pytest.mark.parametrize("algorithm", ["ES256", "PS256"])
    def test_takes_every_allowed_algorithm(self, outside: Outside, algorithm: str) -> None:
        """ID1: RS256 is the default of all other tests."""
        key = ECKey.generate_key("P-256") if algorithm == "ES256" else rsa_key(1)
        outside.issuer.keys.append(SigningKey("second", key, algorithm))
        assert outside.sign_in().status_code == 200

    @pytest.mark.parametrize(
        ("claims", "email", "name"),
        [
            ({"email_verified": "true"}, "ada@example.org", "Ada Lovelace"),
            ({"email_verified": False}, None, "Ada Lovelace"),
            ({"email_verified": "false"}, None, "Ada Lovelace"),
            ({"email_verified": 1}, None, "Ada Lovelace"),
            ({"email_verified": None}, None, "Ada Lovelace"),
            ({"email": None}, None, "Ada Lovelace"),
            ({"email": "no address"}, None, "Ada Lovelace"),
            ({"email": ["ada@example.org"]}, None, "Ada Lovelace"),
            ({"name": None}, "ada@example.org", None),
            ({"name": ""}, "ada@example.org", None),
            ({"name": "x" * 101}, "ada@example.org", "x" * 100),
            ({"name": "Ada\u202egpj"}, "ada@example.org", "Ada gpj"),
            ({"name": "Ada\0"}, "ada@example.org", "Ada"),
            ({"name": "Ada \U0001fa77"}, "ada@example.org", "Ada \U0001fa77"),
            ({"name": {"first": "Ada"}}, "ada@example.org", None),
        ],
    )
    def test_stores_a_verified_address_and_a_printable_name(
        self, target: Outside, claims: dict[str, Any], email: str | None, name: str | None
    ) -> None:
        """ID6: an address that the provider did not verify, as `true` or Apple's `"true"`, is not the account's."""
        with_own = {"sub": json.dumps(claims)[:200], "email": f"ada{abs(hash(str(claims)))}@example.org"} | claims
        profile = target.device(**with_own).get("/v1/me").json()
        assert profile["email"] == (with_own["email"] if email else None)
        assert profile["display_name"] == name

    def test_an_unknown_provider_is_not_found(self, outside: Outside) -> None:
        token = outside.token()
        for path in ("/v1/auth/oidc/unknown/nonce", "/v1/auth/oidc/unknown"):
            body = None if path.endswith("nonce") else {"id_token": token}
            assert_problem(outside.service.client.post(path, json=body), 404, "not_found")
        assert outside.issuer.paths == []

    def test_a_disabled_user_is_turned_away(self, outside: Outside) -> None:
        """VC6: neither by the identity that is known nor by one that has the same verified address."""
        device = outside.device()
        outside.service.disable("ada@example.org")
        assert_problem(outside.sign_in(), 403, "account_disabled")
        assert_problem(outside.sign_in(sub="another"), 403, "account_disabled")
        assert_problem(device.vend(), 403, "account_disabled")
        assert outside.service.sql("SELECT count(*) FROM identities") == [(1,)]

    def test_is_limited_by_address(self, make_service: Callable[..., Service], issuer: Issuer) -> None:
        service = make_service(oidc_providers=trusting(issuer), rate_limits="on")
        statuses = [service.client.post("/v1/auth/oidc/local/nonce").status_code for _ in range(121)]
        assert statuses == [200] * 120 + [429]
        assert Outside(service, issuer).present("x").status_code == 429


class TestAddresses:
    def test_an_account_with_the_verified_address_is_linked(self, outside: Outside) -> None:
        """ID6: both sides have verified it; the owner is told by mail."""
        registered = outside.service.device("ada@example.org")
        verify_address(outside.service, "ada@example.org")
        device = outside.device(email="ADA@example.org")
        assert device.user_id == registered.user_id
        assert mails(outside.service) == [("identity_linked", "ada@example.org")]
        assert events(outside.service, "identity.linked") == ["done"]
        assert registered.get("/v1/me").status_code == 200
        assert outside.device().user_id == registered.user_id
        assert len(mails(outside.service)) == 1

    def test_an_account_whose_address_is_not_verified_is_left_alone(self, outside: Outside) -> None:
        """ID6: whoever registered somebody else's address does not catch their sign-in, nor lose the account to it."""
        outside.service.device("ada@example.org")
        assert_problem(outside.sign_in(), 409, "identity_not_linked")
        assert outside.service.sql("SELECT count(*) FROM identities") == [(0,)]
        assert outside.service.sql("SELECT count(*) FROM users") == [(1,)]
        assert mails(outside.service) == []
        assert events(outside.service, "identity.linked") == ["refused"]

    def test_an_address_that_the_provider_did_not_verify_leads_nowhere(self, outside: Outside) -> None:
        """ID6: it makes an account of its own, without the address."""
        registered = outside.service.device("ada@example.org")
        verify_address(outside.service, "ada@example.org")
        for verified in (False, "false", 1, "True", None):
            device = outside.device(sub=f"sub {verified!r}", email_verified=verified)
            assert device.user_id != registered.user_id
            assert device.get("/v1/me").json()["email"] is None
        assert mails(outside.service) == []

    def test_another_issuers_subject_is_another_person(
        self, make_service: Callable[..., Service], issuer: Issuer
    ) -> None:
        """ID6: and their address links them to one account, as both have verified it."""
        with running_issuer(ManualClock()) as other:
            service = make_service(oidc_providers=trusting(issuer, other))
            issuer.clock = other.clock = service.clock
            one, two = Outside(service, issuer), Outside(service, other, "other1")
            first = one.device(email=None)
            assert two.device(email="bob@example.org").user_id != first.user_id
            assert one.device(sub="x", email="bob@example.org").user_id == two.device().user_id


@pytest.mark.both_databases
class TestNonce:
    def test_may_come_back_as_its_digest(self, outside: Outside) -> None:
        """ID5: as Apple's SDKs, which are given the SHA-256 in hexadecimal."""
        nonce = outside.nonce()
        token = outside.issuer.token(hashlib.sha256(nonce.encode()).hexdigest())
        assert outside.present(token).status_code == 200
        assert_problem(outside.present(outside.issuer.token(nonce)), 401, "invalid_identity_token")

    def test_tells_until_when_it_is_good(self, outside: Outside) -> None:
        answer = outside.service.client.post("/v1/auth/oidc/local/nonce").json()
        assert answer.keys() == {"nonce", "expires_at"}
        assert answer["expires_at"] == "2026-06-01T12:10:00Z"

    def test_works_once(self, outside: Outside) -> None:
        """ID5: a token that was presented, or another one with its nonce, is refused (ASVS 10.5.1)."""
        nonce = outside.nonce()
        token = outside.issuer.token(nonce)
        assert outside.present(token).status_code == 200
        for replay in (token, outside.issuer.token(nonce, sub="somebody else")):
            assert_problem(outside.present(replay), 401, "invalid_identity_token")
        assert outside.service.sql("SELECT count(*) FROM sessions") == [(1,)]

    def test_is_not_used_up_by_a_token_that_is_refused(self, outside: Outside) -> None:
        """ID5: it is claimed only after the signature and every claim were right."""
        nonce = outside.nonce()
        forged = outside.issuer.forged(outside.issuer.claims(nonce), key=rsa_key(1))
        for refused in (forged, outside.issuer.token(nonce, aud="another"), outside.issuer.token(nonce, exp=1)):
            assert_problem(outside.present(refused), 401, "invalid_identity_token")
        assert outside.present(outside.issuer.token(nonce)).status_code == 200

    def test_lives_ten_minutes(self, outside: Outside) -> None:
        """ID5."""
        early, late = outside.nonce(), outside.nonce()
        outside.service.clock.advance(seconds=599)
        assert outside.present(outside.issuer.token(early)).status_code == 200
        outside.service.clock.advance(seconds=1)
        assert_problem(outside.present(outside.issuer.token(late)), 401, "invalid_identity_token")

    def test_is_of_one_provider(self, make_service: Callable[..., Service], issuer: Issuer) -> None:
        """ID5."""
        with running_issuer(ManualClock()) as other:
            service = make_service(oidc_providers=trusting(issuer, other))
            issuer.clock = other.clock = service.clock
            one, two = Outside(service, issuer), Outside(service, other, "other1")
            assert_problem(two.present(other.token(one.nonce())), 401, "invalid_identity_token")
            assert two.present(other.token(two.nonce())).status_code == 200

    def test_is_not_stored(self, outside: Outside) -> None:
        """ID5: neither it nor its digest, so nobody who reads the database can use one."""
        nonce = outside.nonce()
        digest = hashlib.sha256(nonce.encode())
        (row,) = outside.service.sql("SELECT token_hash, data, purpose FROM single_use_tokens")
        assert row[2] == "oidc_nonce"
        assert bytes(row[0]) != digest.digest()
        assert nonce not in str(row[1])


class TestSecrets:
    def test_no_token_is_logged_or_stored(self, outside: Outside) -> None:
        """OP1: accepted or refused: neither token, signature nor nonce, nor what a refused token says."""
        accepted = outside.token()
        refused = outside.token(aud="canary-audience", sub="canary-subject", email="canary@example.org")
        with capture_logs() as logs:
            assert outside.present(accepted).status_code == 200
            assert outside.present(refused).status_code == 401
            assert outside.present(refused + "x").status_code == 401
        assert {"identity_token_refused"} <= {entry["event"] for entry in logs}
        everything = f"{logs} {stored_values(outside.service)}"
        for secret in (*accepted.split("."), *refused.split("."), "canary", "tvs_"):
            assert secret not in everything


class TestMfa:
    def test_is_asked_of_who_has_set_one_up(self, outside: Outside) -> None:
        """AU18: a provider's word is one factor; what waits for the second opens nothing but its own door."""
        device = outside.device()
        enable_totp(outside.service, device.user_id)
        answer = outside.sign_in().json()
        assert (answer["status"], answer["tokens"]) == ("mfa_required", None)
        assert answer["mfa"]["methods"] == ["totp", "recovery_code"]
        pending = answer["mfa"]["mfa_token"]
        for route in GUARDED:
            assert_problem(call(outside.service, route, pending), 401, "invalid_token")
        assert_problem(outside.service.refresh(pending), 401, "invalid_refresh_token")
        assert outside.service.sql("SELECT count(*) FROM sessions") == [(1,)]


class TestVending:
    def test_nobody_gets_a_credential_before_the_second_factor(self, service: Service) -> None:
        """VC6, AU18: by password."""
        device = service.device("ada@example.org")
        enable_totp(service, device.user_id)
        answer = service.log_in("ada@example.org").json()
        assert (answer["status"], answer["tokens"]) == ("mfa_required", None)
        bearer = {"Authorization": f"Bearer {answer['mfa']['mfa_token']}"}
        assert_problem(service.client.post("/v1/credentials", json={}, headers=bearer), 401, "invalid_token")
        assert_problem(service.client.get("/v1/credentials/container", headers=bearer), 401, "invalid_token")
        assert service.sts.assumed == []

    def test_nobody_gets_a_credential_before_their_address_is_verified(
        self, make_service: Callable[..., Service]
    ) -> None:
        """VC6: no session, so nothing to ask with."""
        service = make_service(email_verification="required")
        service.register("ada@example.org")
        answer = service.log_in("ada@example.org")
        assert_problem(answer, 403, "email_not_verified")
        assert service.sql("SELECT count(*) FROM sessions") == [(0,)]
        assert_problem(service.log_in("ada@example.org", "not the password"), 401, "invalid_login")


@pytest.fixture(scope="module")
def target(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """One service on SQLite and its issuer, for what must not get as far as the database."""
    with running_issuer(ManualClock()) as issuer:
        url = sqlite_databases.create(tmp_path_factory.mktemp("target"))
        with running_service(url, oidc_providers=trusting(issuer)) as service:
            issuer.clock = service.clock
            outside = Outside(service, issuer)
            assert outside.sign_in().status_code == 200
            yield outside


Forge = Callable[[Issuer, str], str]


def claiming(**changes: Any) -> Forge:
    return lambda issuer, nonce: issuer.token(nonce, **changes)


def headed(**members: Any) -> Forge:
    return lambda issuer, nonce: issuer.forged(issuer.claims(nonce), **members)


def after(seconds: float, *names: str) -> Forge:
    """The times, so long after now."""

    def forge(issuer: Issuer, nonce: str) -> str:
        now = int(issuer.clock.now().timestamp())
        return issuer.token(nonce, **dict.fromkeys(names, now + seconds))

    return forge


def doubled(name: str) -> Forge:
    def forge(issuer: Issuer, nonce: str) -> str:
        text = json.dumps(issuer.claims(nonce))
        return issuer.forged(f'{text[:-1]}, "{name}": "x"}}'.encode())

    return forge


ALGORITHMS: dict[str, Forge] = {
    "none": lambda i, n: ".".join(headed(alg="none")(i, n).split(".")[:2]) + ".",
    "none with the signature": headed(alg="none"),
    "HS256 with the PEM": lambda i, n: i.hmacked(n, i.public_bytes(Encoding.PEM)),
    "HS256 with the stripped PEM": lambda i, n: i.hmacked(n, i.public_bytes(Encoding.PEM).strip()),
    "HS256 with the DER": lambda i, n: i.hmacked(n, i.public_bytes(Encoding.DER)),
    "HS256 with the JWK": lambda i, n: i.hmacked(n, json.dumps(i.keys[-1].jwk()).encode()),
    "PS256 of an RS256 key": lambda i, n: i.token(n, key=SigningKey("rsa-1", rsa_key(), "PS256")),
    "RS512 of an RS256 key": lambda i, n: i.token(n, key=SigningKey("rsa-1", rsa_key(), "RS512")),
    "said to be ES256": headed(alg="ES256"),
    "said to be RS512": headed(alg="RS512"),
    "in lower case": headed(alg="rs256"),
    "a list": headed(alg=["RS256"]),
    "missing": headed(alg=None),
}
OWN_KEY = RSAKey.generate_key(2048)
OWN = SigningKey("attacker", OWN_KEY, "RS256")
KEYS: dict[str, Forge] = {
    "another key under the kid": lambda i, n: i.forged(i.claims(n), key=OWN_KEY),
    "unknown kid": lambda i, n: i.token(n, key=OWN),
    "no kid": headed(kid=None),
    "kid null": lambda i, n: i.forged(i.claims(n), header=b'{"alg":"RS256","kid":null}'),
    "kid list": headed(kid=["rsa-1"]),
    "kid object": headed(kid={"rsa-1": 1}),
    "kid number": headed(kid=1),
    "kid of a file": headed(kid="../../dev/null"),
    "kid with NUL": headed(kid="rsa-1\0"),
    "jwk": lambda i, n: i.forged(i.claims(n), key=OWN_KEY, jwk=OWN.jwk()),
    "jwk beside the right key": headed(jwk=OWN.jwk()),
    "x5c": headed(x5c=["AAAA"]),
}
HEADERS: dict[str, Forge] = {
    "crit": headed(crit=["exp"], exp=1),
    "crit empty": headed(crit=[]),
    "b64": headed(b64=False, crit=["b64"]),
    "an access token": headed(typ="at+jwt"),
    "a logout token": headed(typ="logout+jwt"),
    "typ number": headed(typ=1),
    "alg twice": lambda i, n: i.forged(i.claims(n), header=b'{"alg":"none","alg":"RS256","kid":"rsa-1"}'),
    "a list": lambda i, n: i.forged(i.claims(n), header=b'["RS256"]'),
    "nested": lambda i, n: i.forged(i.claims(n), header=b"[" * 3000),
    "not UTF-8": lambda i, n: i.forged(i.claims(n), header=b'{"alg":"RS256","kid":"\xff"}'),
    "claims a list": lambda i, n: i.forged(b"[]"),
    "claims null": lambda i, n: i.forged(b"null"),
    "claims nested": lambda i, n: i.forged(b'{"a":' * 1000),
    "claims NaN": lambda i, n: i.forged(b'{"exp":NaN}'),
    "sub twice": doubled("sub"),
    "nonce twice": doubled("nonce"),
    "four parts": lambda i, n: i.token(n) + ".x",
    "padded": lambda i, n: i.token(n) + "==",
    "a new line": lambda i, n: i.token(n) + "\n",
    "empty": lambda i, n: "",
    "dots": lambda i, n: "..",
    "not ASCII": lambda i, n: "é.é.é",
    "one of 60 KB": lambda i, n: i.token(n, pad="x" * 45_000),
    "of 33 KB": lambda i, n: i.token(n, pad="x" * 24_600),
    "changed claims": lambda i, n: _with_claims(i.token(n), i.claims(n, sub="somebody else")),
    "no signature": lambda i, n: i.token(n).rpartition(".")[0] + ".",
    "signature of another": lambda i, n: i.token(n).rpartition(".")[0] + "." + i.token("x").rpartition(".")[2],
}
CLAIMS: dict[str, Forge] = {
    "iss of another": claiming(iss="https://accounts.google.com"),
    "iss with a slash": lambda i, n: i.token(n, iss=i.url + "/"),
    "iss missing": claiming(iss=None),
    "iss list": lambda i, n: i.token(n, iss=[i.url]),
    "aud of another app": claiming(aud="org.example.other"),
    "aud missing": claiming(aud=None),
    "aud empty": claiming(aud=[]),
    "aud number": claiming(aud=1),
    "aud prefix": claiming(aud="org.example"),
    "aud with a number": claiming(aud=["org.example.photos", 1]),
    "aud several without azp": claiming(aud=["org.example.photos", "org.example.other"]),
    "aud several, azp of another": claiming(aud=["org.example.photos", "org.example.other"], azp="org.example.other"),
    "aud several, azp list": claiming(aud=["org.example.photos", "x"], azp=["org.example.photos"]),
    "exp past": after(-1, "exp"),
    "exp now": after(0, "exp"),
    "exp missing": claiming(exp=None),
    "exp text": claiming(exp="9999999999"),
    "exp past by a fraction": after(-0.5, "exp"),
    "exp true": claiming(exp=True),
    "exp huge": lambda i, n: i.forged(json.dumps(i.claims(n, exp=7)).replace('"exp": 7', '"exp": 1e400').encode()),
    "iat missing": claiming(iat=None),
    "iat in the future": after(61, "iat"),
    "iat an hour ago": after(-3600, "iat"),
    "iat text": claiming(iat="1"),
    "iat true": claiming(iat=True),
    "nbf in the future": after(61, "nbf"),
    "nbf text": claiming(nbf="1"),
    "sub missing": claiming(sub=None),
    "sub empty": claiming(sub=""),
    "sub long": claiming(sub="x" * 256),
    "sub number": claiming(sub=1),
    "sub NUL": claiming(sub="x\0"),
    "sub not ASCII": claiming(sub="ä"),
    "sub new line": claiming(sub="x\n"),
    "nonce missing": lambda i, n: i.token(n, nonce=None),
    "nonce of nobody": lambda i, n: i.token("tvs_" + "A" * 43),
    "nonce empty": lambda i, n: i.token(""),
    "nonce list": lambda i, n: i.token(n, nonce=[n]),
    "nonce digest in capitals": lambda i, n: i.token(hashlib.sha256(n.encode()).hexdigest().upper()),
    "nonce digest twice": lambda i, n: i.token(
        hashlib.sha256(hashlib.sha256(n.encode()).hexdigest().encode()).hexdigest()
    ),
    "nonce digest in base64": lambda i, n: i.token(b64(hashlib.sha256(n.encode()).digest())),
}


def _with_claims(token: str, claims: dict[str, Any]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{b64(json.dumps(claims).encode())}.{signature}"


def corpus(cases: dict[str, Forge]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("forge", [pytest.param(forge, id=name) for name, forge in cases.items()])


class TestForgedTokens:
    def assert_refused(self, target: Outside, forge: Forge) -> None:
        """The one answer that a plain wrong token gets too; the attempt is on record, and nothing else."""
        expected = without_request_id(target.present("garbage"))
        assert (expected[0], json.loads(expected[2])["code"]) == (401, "invalid_identity_token")
        token = forge(target.issuer, target.nonce())
        before = row_counts(target.service)
        assert without_request_id(target.present(token)) == expected
        after_it = row_counts(target.service)
        assert after_it.pop("audit_events") == before.pop("audit_events") + 1
        assert after_it == before

    def test_the_forger_can_make_a_token_that_is_accepted(self, target: Outside) -> None:
        """What is refused below is refused for what was changed, and not because the forger is clumsy."""
        accepted: list[Forge] = [
            headed(),
            headed(typ=None),
            headed(typ="jwt"),
            claiming(aud=["org.example.photos"]),
            claiming(aud=["org.example.other", "org.example.web"], azp="org.example.photos"),
            after(60, "iat"),
            after(60, "nbf"),
            after(-3599, "iat"),
            after(1, "exp"),
            claiming(sub="x" * 255, email=None),
            claiming(pad="x" * 24_000),  # as many groups make it
            after(0.25, "iat", "nbf"),
            after(600.5, "exp"),
            lambda i, n: i.token(n, iss=i.url.removeprefix("http://")),  # as Google spells its own
        ]
        for forge in accepted:
            answer = target.present(forge(target.issuer, target.nonce()))
            assert answer.status_code == 200, answer.text

    @corpus(ALGORITHMS)
    def test_another_algorithm_is_refused(self, target: Outside, forge: Forge) -> None:
        """TK1, ID1: the one algorithm of its key, of an allow-list (RFC 8725 §3.1, ASVS 9.1.2)."""
        self.assert_refused(target, forge)

    @corpus(KEYS)
    def test_a_key_that_is_not_the_providers_is_refused(self, target: Outside, forge: Forge) -> None:
        """TK2, ID2: keys come from the provider's key set alone, by kid (ASVS 9.1.3)."""
        self.assert_refused(target, forge)

    @corpus(HEADERS)
    def test_a_malformed_token_is_refused(self, target: Outside, forge: Forge) -> None:
        """TK5, TK6, ID3: extensions, other types, members that stand twice: a 401 and not a 500 (ASVS 9.2.2)."""
        self.assert_refused(target, forge)

    @corpus(CLAIMS)
    def test_a_wrong_claim_is_refused(self, target: Outside, forge: Forge) -> None:
        """TK3, ID4, ID5: issuer, audience, times, subject, nonce (ASVS 9.2.1, 9.2.3, 10.5.1, 10.5.4)."""
        self.assert_refused(target, forge)

    @pytest.mark.parametrize("member", ["jku", "x5u", "iss"])
    def test_no_address_in_a_token_is_ever_called(self, target: Outside, member: str) -> None:
        """TK2, ID7: not even where the rest of the token is right (ASVS 1.3.6)."""
        with running_issuer(target.service.clock) as attacker:
            url = attacker.url + (KEYS_PATH if member != "iss" else "")
            forge = claiming(iss=url) if member == "iss" else headed(**{member: url})
            self.assert_refused(target, forge)
            self.assert_refused(
                target, lambda i, n: attacker.forged(i.claims(n, iss=attacker.url), key=OWN_KEY, jku=url, kid="new")
            )
            assert attacker.paths == []

    def test_an_access_token_of_ours_is_no_identity(self, target: Outside) -> None:
        """TK4: nor is an ID token an access token."""
        device = target.device()
        self.assert_refused(target, lambda _issuer, _nonce: device.access_token)
        bearer = {"Authorization": f"Bearer {target.token()}"}
        assert_problem(target.service.client.get("/v1/me", headers=bearer), 401, "invalid_token")


class TestKeys:
    def test_are_kept_for_an_hour(self, outside: Outside) -> None:
        for _ in range(3):
            assert outside.sign_in().status_code == 200
        assert outside.issuer.paths == [DISCOVERY_PATH, KEYS_PATH]
        outside.service.clock.advance(seconds=3599)
        outside.sign_in()
        assert len(outside.issuer.paths) == 2
        outside.service.clock.advance(seconds=1)
        outside.sign_in()
        assert outside.issuer.paths == [DISCOVERY_PATH, KEYS_PATH] * 2

    def test_rotate_unnoticed(self, outside: Outside) -> None:
        """ID2: a new kid is looked for at once; an old key that the provider withdrew is believed no more."""
        old = outside.issuer.keys[0]
        assert outside.sign_in().status_code == 200
        outside.issuer.keys = [SigningKey("rsa-2", rsa_key(1), "RS256")]
        assert outside.sign_in().status_code == 200
        assert outside.issuer.asked(KEYS_PATH) == 2
        assert_problem(outside.present(outside.token(key=old)), 401, "invalid_identity_token")

    def test_are_looked_for_once_a_minute_at_most(self, outside: Outside) -> None:
        """ID7: whatever tokens say, the provider is not hammered."""
        outside.sign_in()
        for number in range(30):
            token = outside.issuer.forged({}, kid=f"made up {number}")
            assert_problem(outside.present(token), 401, "invalid_identity_token")
        assert outside.issuer.asked(KEYS_PATH) == 2
        outside.service.clock.advance(seconds=60)
        for number in range(30):
            outside.present(outside.issuer.forged({}, kid=f"made up {number}"))
        assert outside.issuer.asked(KEYS_PATH) == 3

    def test_are_fetched_once_for_all_who_wait(self, outside: Outside) -> None:
        tokens = [outside.token(sub=str(number), email=None) for number in range(20)]
        answers = all_at_once(lambda number: outside.present(tokens[number]).status_code)
        assert answers == [200] * 20
        assert outside.issuer.paths == [DISCOVERY_PATH, KEYS_PATH]

    def test_are_trusted_for_a_day_while_the_provider_is_down(self, outside: Outside) -> None:
        outside.sign_in()
        outside.issuer.answer(DISCOVERY_PATH, b"", status=500)
        outside.service.clock.advance(hours=23, minutes=59)
        asked = len(outside.issuer.paths)
        assert [outside.sign_in().status_code for _ in range(5)] == [200] * 5
        assert len(outside.issuer.paths) == asked + 1
        outside.service.clock.advance(minutes=1)
        answer = outside.present(outside.token())
        assert_problem(answer, 503, "identity_provider_unavailable")
        assert answer.headers["retry-after"] == "5"
        del outside.issuer.answers[DISCOVERY_PATH]
        assert outside.sign_in().status_code == 503
        outside.service.clock.advance(seconds=5)
        assert outside.sign_in().status_code == 200

    def test_a_provider_that_is_down_is_not_asked_by_everyone(self, outside: Outside) -> None:
        """ID7."""
        outside.issuer.answer(DISCOVERY_PATH, b"", status=503)
        for _ in range(10):
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")
        assert outside.issuer.paths == [DISCOVERY_PATH]


class TestBrokenProvider:
    @pytest.mark.parametrize(
        "document",
        [
            b"",
            b"<html>",
            b"[]",
            b"null",
            b"\xff",
            b"[" * 200_000,
            b'{"issuer": NaN}',
        ],
        ids=lambda document: repr(document)[:20],
    )
    def test_a_bad_discovery_document_is_no_key(self, target: Outside, document: object) -> None:
        """ID7: garbage, huge: a 503, and nothing is believed."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.answer(DISCOVERY_PATH, document)
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")
            assert issuer.asked(KEYS_PATH) == 0

    @pytest.mark.parametrize(
        ("said", "mend"),
        [
            ("https://accounts.google.com", "set `issuer` to that"),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", "list their ids in `tenants`"),
            ("https://\n" + "x" * 300, "set `issuer` to that"),
            (None, "names no issuer"),
            (7, "names no issuer"),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_a_document_of_another_issuer_is_the_operators_to_mend(
        self, target: Outside, said: object, mend: str
    ) -> None:
        """ID7 (ASVS 10.5.3): nothing is believed, and nobody is told to try again. It ends when it is mended."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.answer(DISCOVERY_PATH, issuer.discovery(issuer=said))
            with capture_logs() as logs:
                answer = outside.sign_in()
            assert_problem(answer, 500, "identity_provider_misconfigured")
            assert "doctor" in answer.json()["detail"]
            [cause] = [log["cause"] for log in logs if log["event"] == "identity_provider_misconfigured"]
            assert mend in cause
            assert cause.isprintable()
            assert issuer.asked(KEYS_PATH) == 0
            del issuer.answers[DISCOVERY_PATH]
            target.service.clock.advance(seconds=providers.RETRY_AFTER)
            assert outside.sign_in().status_code == 200

    @pytest.mark.parametrize(
        "keys",
        [
            b"<html>",
            {},
            {"keys": {}},
            {"keys": []},
            {"keys": [1, None, "x", []]},
            {"keys": [{"kty": "oct", "kid": "rsa-1", "k": "AAAA", "alg": "HS256"}]},
        ],
        ids=lambda keys: repr(keys)[:20],
    )
    def test_a_bad_key_set_is_none(self, target: Outside, keys: object) -> None:
        """ID2, ID7."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.answer(KEYS_PATH, keys)
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")

    @pytest.mark.parametrize(
        "members",
        [
            {"kty": "EC"},
            {"kty": "EC", "crv": "P-256", "alg": "ES256"},
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "x": "AAAA", "y": "AAAA"},
            {"kty": "oct", "k": "AAAA"},
            {"kty": ["RSA"]},
            {"alg": "ES256"},
            {"alg": "HS256"},
            {"alg": "none"},
            {"alg": ["RS256"]},
            {"use": "enc"},
            {"key_ops": ["encrypt"]},
            {"key_ops": 1},
            {"n": None},
            {"n": 10**12},
            {"n": "AQAB"},
            {"n": "é"},
            {"e": ""},
            {"e": "AA"},
            {"kid": None},
            {"kid": ""},
            {"kid": 1},
        ],
        ids=str,
    )
    def test_a_key_that_is_not_what_it_says_is_left_out(self, target: Outside, members: dict[str, Any]) -> None:
        """ID1, ID2: a key's type, use and algorithm must agree; the others in the set go on."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            good, wrong = (SigningKey("good", rsa_key(1), "RS256"), SigningKey("rsa-1", rsa_key(), "RS256", members))
            issuer.keys = [wrong, good]
            assert_problem(outside.present(outside.token(key=wrong)), 401, "invalid_identity_token")
            assert outside.sign_in(key=good).status_code == 200

    @pytest.mark.parametrize(
        "members", [{"alg": None}, {"use": None}, {"key_ops": ["verify"]}, {"x5c": ["AAAA"]}], ids=str
    )
    def test_a_key_need_not_say_everything(self, target: Outside, members: dict[str, Any]) -> None:
        """ID1: an RSA key that names no algorithm is for RS256, and for no other."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.keys = [SigningKey("rsa-1", rsa_key(), "RS256", members)]
            assert outside.sign_in().status_code == 200
            pss = SigningKey("rsa-1", rsa_key(), "PS256")
            assert_problem(outside.sign_in(key=pss), 401, "invalid_identity_token")

    @pytest.mark.filterwarnings("ignore:Key size:UserWarning")
    def test_a_small_key_is_left_out(self, target: Outside) -> None:
        """ID1: RSA below 2,048 bits."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            small = SigningKey("small", RSAKey.generate_key(1024), "RS256")
            issuer.keys.append(small)
            assert_problem(outside.present(outside.token(key=small)), 401, "invalid_identity_token")

    def test_the_only_key_needs_no_kid(self, target: Outside) -> None:
        """ID2: OpenID Connect Core §10.1 asks for one among several. A new key is found too."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.keys = [SigningKey("rsa-1", rsa_key(), "RS256", {"kid": None})]
            assert outside.sign_in().status_code == 200
            nameless = issuer.forged(issuer.claims(outside.nonce()), kid=None)
            assert outside.present(nameless).status_code == 200
            for kid in ("", None, 1):
                forged = issuer.forged(
                    issuer.claims(outside.nonce()), header=json.dumps({"alg": "RS256", "kid": kid}).encode()
                )
                assert_problem(outside.present(forged), 401, "invalid_identity_token")
            forged = issuer.forged(issuer.claims(outside.nonce()), key=OWN_KEY, kid=None)
            assert_problem(outside.present(forged), 401, "invalid_identity_token")
            target.service.clock.advance(seconds=providers.SOUGHT_EVERY)
            issuer.keys = [SigningKey("rsa-1", rsa_key(1), "RS256", {"kid": None})]
            assert outside.sign_in().status_code == 200

    def test_a_kid_that_stands_twice_is_nobodys(self, target: Outside) -> None:
        """ID2: nobody guesses which of two keys is meant."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            good, twin = (SigningKey("good", rsa_key(1), "RS256"), SigningKey("rsa-1", OWN.key, "RS256"))
            issuer.keys += [twin, good]
            for key in (issuer.keys[0], twin):
                assert_problem(outside.present(outside.token(key=key)), 401, "invalid_identity_token")
            assert outside.sign_in(key=good).status_code == 200

    @pytest.mark.parametrize("path", [DISCOVERY_PATH, KEYS_PATH])
    def test_a_huge_answer_is_given_up(self, target: Outside, path: str) -> None:
        """ID7: though it would be right."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            right = issuer.discovery() if path == DISCOVERY_PATH else {"keys": [key.jwk() for key in issuer.keys]}
            issuer.answer(path, right | {"pad": "x" * fetcher.LONGEST_ANSWER})
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")
            target.service.clock.advance(seconds=providers.RETRY_AFTER)
            issuer.answer(path, right | {"pad": "x" * (fetcher.LONGEST_ANSWER - 1000)})
            assert outside.sign_in().status_code == 200

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    @pytest.mark.parametrize("path", [DISCOVERY_PATH, KEYS_PATH])
    def test_a_redirect_is_not_followed(self, target: Outside, path: str, status: int) -> None:
        """ID7: not even to where the right answer is. That of the discovery document is the operator's to mend."""
        with running_issuer(target.service.clock) as issuer, running_issuer(target.service.clock) as elsewhere:
            outside = _trusting_anew(target, issuer)
            issuer.answer(path, b"", status=status, Location=elsewhere.url + path)
            if path == DISCOVERY_PATH:
                assert_problem(outside.sign_in(), 500, "identity_provider_misconfigured")
            else:
                assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")
            assert elsewhere.paths == []

    @pytest.mark.parametrize(
        "address",
        [
            "file:///etc/passwd",
            "ftp://127.0.0.1/keys",
            "http://169.254.169.254/latest/meta-data/",
            "http://127.0.0.1@example.org/keys",
            "//127.0.0.1/keys",
            "https:///keys",
            "",
            7,
            None,
        ],
    )
    def test_keys_are_fetched_by_https_alone(self, target: Outside, address: object) -> None:
        """ID7: or from this machine, where the issuer itself is on it."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            issuer.answer(DISCOVERY_PATH, issuer.discovery(jwks_uri=address))
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")
            assert issuer.paths == [DISCOVERY_PATH]

    def test_a_compressed_answer_is_not_unpacked(self, target: Outside) -> None:
        """ID7: nobody sends us a small answer that is a large one."""
        with running_issuer(target.service.clock) as issuer:
            outside = _trusting_anew(target, issuer)
            packed = gzip.compress(json.dumps(issuer.discovery()).encode())
            issuer.answer(DISCOVERY_PATH, packed, Content_Encoding="gzip")
            assert_problem(outside.sign_in(), 503, "identity_provider_unavailable")

    def test_a_silent_one_is_given_up_and_holds_nobody_up(
        self, outside: Outside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ID7: no database connection is held meanwhile: with one connection to have, others are served."""
        monkeypatch.setattr(providers, "FETCH_WITHIN", 1.0)
        outside.issuer.silent.set()
        token = outside.token()
        with outside.service.runtime.platform.database.engine.connect(), ThreadPoolExecutor(10) as pool:
            waiting = [pool.submit(outside.present, token) for _ in range(10)]
            assert outside.issuer.reached.wait(20)
            assert outside.nonce()
            assert not waiting[0].done()
            for answer in waiting:
                assert_problem(answer.result(), 503, "identity_provider_unavailable")
        assert outside.issuer.paths == [DISCOVERY_PATH]

    def test_an_issuer_may_have_a_path(self, target: Outside) -> None:
        with running_issuer(target.service.clock, path="/realms/photos") as issuer:
            assert _trusting_anew(target, issuer).sign_in().status_code == 200
            assert issuer.paths == ["/realms/photos/.well-known/openid-configuration", "/realms/photos/keys"]


STRANGER = "11111111-2222-4333-8444-555555555555"
TENANTS = ("0b0f1c2d-3e4f-4a5b-8c6d-7e8f9a0b1c2d", "9188040d-6c67-4c5b-b112-36a304b66dad")


class TestTenants:
    @pytest.fixture
    def entra(self, target: Outside) -> Iterator[Outside]:
        """A provider with a discovery document and an issuer for each tenant, like Microsoft Entra."""
        with running_issuer(target.service.clock) as issuer:
            for tenant in (*TENANTS, STRANGER):
                url = f"{issuer.url}/{tenant}/v2.0"
                issuer.answer(f"/{tenant}/v2.0{DISCOVERY_PATH}", issuer.discovery(issuer=url))
            terms = OidcProvider(issuer=issuer.url + "/{tenantid}/v2.0", client_ids=(CLIENT_ID,), tenants=TENANTS)
            target.service.runtime.providers.add("entra", terms)
            yield Outside(target.service, issuer, "entra")

    def claims(self, outside: Outside, tenant: str) -> dict[str, Any]:
        return {"iss": f"{outside.issuer.url}/{tenant}/v2.0", "tid": tenant, "sub": "AAAAAAAA"}

    def test_that_are_listed_have_users_of_their_own(self, entra: Outside) -> None:
        """ID6: by issuer, which has the tenant, and `sub`."""
        users = [entra.device(**self.claims(entra, tenant)).user_id for tenant in (*TENANTS, *TENANTS)]
        assert users[:2] == users[2:]
        assert users[0] != users[1]

    def test_never_lead_to_an_account_by_an_address(self, entra: Outside) -> None:
        """ID6: a tenant's administrators write what they like into `email`, verified or not."""
        registered = entra.service.device("victim@example.org")
        verify_address(entra.service, "victim@example.org")
        device = entra.device(**self.claims(entra, TENANTS[0]) | {"sub": "B", "email": "victim@example.org"})
        assert device.user_id != registered.user_id
        assert device.get("/v1/me").json()["email"] is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"tid": TENANTS[1]},
            {"tid": None},
            {"tid": [TENANTS[0]]},
            {"tid": TENANTS[0].upper()},
            {"iss": "{url}/{tenantid}/v2.0"},
            {"iss": "{url}/common/v2.0"},
            {"iss": ["{url}"]},
            {"iss": None},
        ],
        ids=str,
    )
    def test_are_told_by_issuer_and_tid_together(self, entra: Outside, changes: dict[str, Any]) -> None:
        """ID4"""
        if isinstance(changes.get("iss"), str):
            changes = {"iss": changes["iss"].replace("{url}", entra.issuer.url)}
        assert_problem(entra.sign_in(**self.claims(entra, TENANTS[0]) | changes), 401, "invalid_identity_token")

    def test_that_are_not_listed_are_not_even_asked_for_keys(self, entra: Outside) -> None:
        """ID7"""
        assert_problem(entra.sign_in(**self.claims(entra, STRANGER)), 401, "invalid_identity_token")
        assert_problem(entra.present("garbage"), 401, "invalid_identity_token")
        assert entra.issuer.paths == []


def _trusting_anew(target: Outside, issuer: Issuer) -> Outside:
    """The service as if it had been started with this issuer."""
    service = target.service
    terms = OidcProvider(issuer=issuer.url, client_ids=("org.example.photos",))
    service.runtime.providers.add("anew", terms)
    return Outside(service, issuer, "anew")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestUnverified:
    def test_signs_in_once_the_address_is_verified(self, make_service: Callable[..., Service], issuer: Issuer) -> None:
        """VC6: as with a password, where an account from before addresses were verified has linked the identity."""
        before = Outside(make_service(oidc_providers=trusting(issuer)), issuer)
        issuer.clock = before.service.clock
        assert before.link(before.service.device("ada@example.org")).status_code == 201
        after = Outside(make_service(oidc_providers=trusting(issuer), email_verification="required"), issuer)
        assert_problem(after.sign_in(), 403, "email_not_verified")
        after.service.sql("UPDATE users SET email_verified_at = created_at")
        assert after.sign_in().status_code == 200


@pytest.mark.slow("twenty at once, again and again")
class TestRaces:
    def test_one_token_wins_once(self, outside: Outside, rounds: int) -> None:
        """ID5: of 20 at once, one; twenty rounds."""
        for number in range(rounds):
            token = outside.token(sub=str(number), email=f"ada{number}@example.org")
            statuses = sorted(all_at_once(lambda _index, token=token: outside.present(token).status_code))
            assert statuses == [200] + [401] * 19
        assert outside.service.sql("SELECT count(*) FROM sessions") == [(rounds,)]

    @pytest.mark.parametrize("email_of", ["ada{}@example.org", ""], ids=["with an address", "without one"])
    def test_a_new_identity_makes_one_account(self, outside: Outside, email_of: str, rounds: int) -> None:
        """ID6: 20 tokens of one person at once, each with a nonce of its own; twenty rounds."""
        for number in range(rounds):
            email = email_of.format(number) or None
            tokens = [outside.token(sub=str(number), email=email) for _ in range(20)]
            answers = all_at_once(lambda index, tokens=tokens: outside.present(tokens[index]))
            assert {answer.status_code for answer in answers} == {200}
            assert outside.service.sql("SELECT count(*) FROM users") == [(number + 1,)]
            assert outside.service.sql("SELECT count(*) FROM identities") == [(number + 1,)]
        assert outside.service.sql("SELECT count(*) FROM audit_events WHERE event = 'user.registered'") == [(rounds,)]

    def test_two_people_with_one_address_make_one_account(self, outside: Outside) -> None:
        """ID6: 20 identities that have verified the same address: one makes the account, all are linked to it."""
        for number in range(5):
            tokens = [outside.token(sub=f"{number} {index}", email=f"ada{number}@example.org") for index in range(20)]
            answers = all_at_once(lambda index, tokens=tokens: outside.present(tokens[index]))
            assert {answer.status_code for answer in answers} == {200}
            assert outside.service.sql("SELECT count(*) FROM users") == [(number + 1,)]
            assert outside.service.sql("SELECT count(*) FROM identities") == [(20 * (number + 1),)]

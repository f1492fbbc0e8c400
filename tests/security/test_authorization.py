"""Who may call what: every route of the OpenAPI document, objects of others, members nobody asked for."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute
from httpx2 import Response
from starlette.routing import Mount, Route

from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, row_counts, stored_values, without_request_id
from tests.support.openapi import openapi
from tests.support.service import PASSWORD, Device, Service

WELCOMING = {("POST", "/v1/email-verifications/confirm"), ("POST", "/v1/me/email/confirm")}
"""They are public, and ask less of a signed-in caller."""
PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),  # open in development; otherwise behind a token of its own: see tests/api/test_ops.py
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/.well-known/saml-metadata.xml"),
    ("GET", "/sts/jwks.json"),
    ("GET", "/sts/.well-known/openid-configuration"),
    ("POST", "/v1/users"),
    ("POST", "/v1/email-verifications"),
    ("POST", "/v1/email-verifications/confirm"),
    ("POST", "/v1/password-resets"),
    ("POST", "/v1/password-resets/confirm"),
    ("POST", "/v1/me/email/confirm"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/mfa"),  # behind an mfa_token
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/auth/logout"),
    ("POST", "/v1/auth/guest"),
    ("POST", "/v1/auth/oidc/{provider}"),
    ("POST", "/v1/auth/oidc/{provider}/nonce"),
    ("POST", "/v1/auth/passkey"),
    ("POST", "/v1/auth/passkey/options"),
    ("POST", "/v1/links/open"),  # the secret of the link lets in
    ("POST", "/v1/links/report"),
    ("POST", "/v1/storage-events"),  # off without a topic; else for what SNS has signed
}
"""Routes that answer without a token. A route is added here on purpose, or it is guarded."""

UNLISTED = {
    *("/account", "/account/shared", "/account/verify-email", "/account/reset-password", "/account/change-email"),
    *("/album", "/album/", "/album/pictures", "/album/shared", "/album/vendor/aws4fetch"),
    *("/console", "/console/", "/console/events.json", "/console/links.json", "/console/shared"),
    *("/console/vendor/uplot", "/console/vendor/uqr"),
    *(
        "/demo",
        "/demo/",
        "/demo/pictures",
        "/demo/shared",
        "/demo/vendor/aws4fetch",
        "/demo/vendor/uqr",
        "/demo/mailbox",
        "/demo/settings.json",
        "/demo/shell.json",
        "/demo/service-worker.js",
    ),
    *("/", "/start", "/start/shared", "/guides/{name:path}"),
    *("/openapi.json", "/docs", "/docs/", "/docs/shared"),
}
"""What is served beside the OpenAPI document: pages of links in mails, the console; the rest in development alone."""

OF_OTHER_MODES = {"/sts/jwks.json", "/sts/.well-known/openid-configuration", "/.well-known/saml-metadata.xml"}
ROUTES = sorted((method.upper(), path) for path, operations in openapi()["paths"].items() for method in operations)
GUARDED = [route for route in ROUTES if route not in PUBLIC]
ADMINISTRATION = [route for route in GUARDED if route[1].startswith("/v1/admin")]
LETS_IN: dict[tuple[str, str], int] = {
    ("DELETE", "/v1/grants/{grant_id}"): 404,
    ("DELETE", "/v1/links/{link_id}"): 404,
    ("DELETE", "/v1/me/identities/{identity_id}"): 404,
    ("DELETE", "/v1/me/passkeys/{passkey_id}"): 404,
    ("DELETE", "/v1/me/sessions"): 204,
    ("DELETE", "/v1/me/sessions/{session_id}"): 404,
    ("DELETE", "/v1/me/totp"): 404,
    ("GET", "/.well-known/jwks.json"): 200,
    ("GET", "/.well-known/openid-configuration"): 200,
    ("GET", "/.well-known/saml-metadata.xml"): 404,
    ("GET", "/healthz"): 200,
    ("GET", "/metrics"): 200,
    ("GET", "/readyz"): 200,
    ("GET", "/sts/.well-known/openid-configuration"): 404,
    ("GET", "/sts/jwks.json"): 404,
    ("GET", "/v1/credentials/container"): 200,
    ("GET", "/v1/grants"): 200,
    ("GET", "/v1/grants/received"): 200,
    ("GET", "/v1/links"): 200,
    ("GET", "/v1/me"): 200,
    ("GET", "/v1/me/credentials"): 200,
    ("GET", "/v1/me/export"): 200,
    ("GET", "/v1/me/identities"): 200,
    ("GET", "/v1/me/passkeys"): 200,
    ("GET", "/v1/me/sessions"): 200,
    ("GET", "/v1/me/usage"): 200,
    ("POST", "/v1/auth/oidc/{provider}/nonce"): 404,
    ("POST", "/v1/auth/passkey/options"): 200,
    ("POST", "/v1/credentials"): 200,
    ("POST", "/v1/credentials/revoke"): 202,
    ("POST", "/v1/downloads"): 404,
    ("POST", "/v1/grants/received/{grant_id}/accept"): 404,
    ("POST", "/v1/me/passkeys/options"): 200,
    ("POST", "/v1/me/recovery-codes"): 404,
    ("POST", "/v1/me/totp"): 200,
    ("POST", "/v1/storage-events"): 404,
}
"""What a caller who may call a route gets without a body, about a made-up id: 422 from the routes that are not here."""
CHALLENGE = re.compile(r'"challenge":"[\w-]{40,}"')
"""Of WebAuthn options: another one each time."""


def call(service: Service, route: tuple[str, str], token: str | None) -> Response:
    """The route with a made-up id in its path and no body."""
    method, path = route
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return service.client.request(method, path.format_map(MadeUpIds()), headers=headers)


class MadeUpIds(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return str(uuid.uuid4())


@dataclass(frozen=True)
class Callers:
    service: Service
    disabled: Device
    ended: Device
    erased: Device


@pytest.fixture(scope="module")
def callers(shared: Service) -> Callers:
    made = Callers(shared, shared.device(), shared.device(), shared.device())
    shared.disable(made.disabled.email)
    made.ended.delete("/v1/me/sessions")
    erased = {"id": uuid.UUID(made.erased.user_id).hex}
    shared.sql("DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE user_id = :id)", **erased)
    shared.sql("DELETE FROM sessions WHERE user_id = :id", **erased)
    shared.sql("DELETE FROM users WHERE id = :id", **erased)
    return made


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.device()


WHY = {"reason": "a test"}
NOBODY = "/v1/admin/users/{user_id}"
STAFF_ROUTES: dict[tuple[str, str], tuple[dict[str, Any] | None, int, int]] = {
    ("GET", "/v1/admin/users"): (None, 200, 200),
    ("POST", "/v1/admin/users"): ({"email": "invited@example.org"}, 403, 201),
    ("GET", "/v1/admin/user-count"): (None, 200, 200),
    ("POST", "/v1/admin/user-acts"): ({"act": "sign_out", "user_ids": [], **WHY}, 422, 422),
    ("GET", NOBODY): (None, 404, 404),
    ("PATCH", NOBODY): ({"role": "admin", **WHY}, 403, 404),
    ("DELETE", NOBODY): (WHY, 403, 404),
    ("POST", f"{NOBODY}/erasure"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/disable"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/enable"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/sign-out"): (WHY, 404, 404),
    ("POST", f"{NOBODY}/reset-mfa"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/revoke-credentials"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/send-password-reset"): (WHY, 404, 404),
    ("POST", f"{NOBODY}/unlock"): (WHY, 404, 404),
    ("POST", f"{NOBODY}/send-verification"): (WHY, 404, 404),
    ("POST", f"{NOBODY}/verify-email"): (WHY, 403, 404),
    ("POST", f"{NOBODY}/email"): ({"new_email": "new@example.org", **WHY}, 403, 404),
    ("POST", f"{NOBODY}/sessions/{{session_id}}/sign-out"): (WHY, 404, 404),
    ("GET", f"{NOBODY}/passkeys"): (None, 404, 404),
    ("POST", f"{NOBODY}/passkeys/{{passkey_id}}/remove"): (WHY, 403, 404),
    ("GET", f"{NOBODY}/identities"): (None, 404, 404),
    ("POST", f"{NOBODY}/identities/{{identity_id}}/unlink"): (WHY, 403, 404),
    ("GET", f"{NOBODY}/grants/given"): (None, 404, 404),
    ("GET", f"{NOBODY}/grants/received"): (None, 404, 404),
    ("GET", f"{NOBODY}/notes"): (None, 404, 404),
    ("POST", f"{NOBODY}/notes"): ({"text": "a note"}, 404, 404),
    ("POST", f"{NOBODY}/notes/{{note_id}}/remove"): (WHY, 403, 404),
    ("GET", f"{NOBODY}/sessions"): (None, 404, 404),
    ("GET", f"{NOBODY}/credentials"): (None, 404, 404),
    ("GET", f"{NOBODY}/audit-events"): (None, 404, 404),
    ("GET", "/v1/admin/links"): (None, 200, 200),
    ("DELETE", "/v1/admin/links/{link_id}"): (WHY, 403, 404),
    ("POST", "/v1/admin/links/{link_id}/withdrawal"): (WHY, 403, 404),
    ("GET", "/v1/admin/audit-events"): (None, 200, 200),
    ("GET", "/v1/admin/audit-events/export"): (None, 403, 200),
    ("GET", "/v1/admin/access-keys/{access_key_id}"): (None, 422, 422),  # what is made up is no access key's id
    ("POST", "/v1/admin/user-imports"): (None, 403, 415),
    ("GET", "/v1/admin/user-imports/{import_id}"): (None, 403, 404),
    ("GET", "/v1/admin/user-imports"): (None, 403, 200),
    ("GET", "/v1/admin/user-exports"): (None, 403, 200),
    ("GET", "/v1/admin/status"): (None, 200, 200),
    ("GET", "/v1/admin/findings"): (None, 403, 200),
    ("GET", "/v1/admin/settings"): (None, 403, 200),
    ("GET", "/v1/admin/signing-keys"): (None, 200, 200),
    ("POST", "/v1/admin/signing-keys/rotate"): (WHY, 403, 200),
    ("GET", "/v1/admin/mails"): (None, 200, 200),
    ("POST", "/v1/admin/mails/{mail_id}/retry"): (WHY, 404, 404),
    ("GET", "/v1/admin/events"): (None, 200, 200),
    ("POST", "/v1/admin/events/{event_id}/redeliver"): (None, 403, 404),
    ("POST", "/v1/admin/webhooks/test"): (None, 403, 404),
    ("GET", "/v1/admin/erasures"): (None, 200, 200),
    ("GET", "/v1/admin/stats"): (None, 200, 200),
    ("POST", "/v1/admin/authorization-messages/decode"): ({"encoded_message": ""}, 422, 422),
}
"""What is sent, about a made-up user, and what support and admin are answered. A route is added here on purpose."""


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
class TestGuardedRoutes:
    def test_nobody_is_asked_to_sign_in(self, callers: Callers, route: tuple[str, str]) -> None:
        """AZ1: no token."""
        assert_problem(call(callers.service, route, None), 401, "unauthenticated")

    def test_a_dead_token_opens_nothing(self, callers: Callers, route: tuple[str, str]) -> None:
        """AZ1: garbage, a session that ended, a user who is gone: one answer for all three."""
        answers = [call(callers.service, route, "garbage")]
        answers += [call(callers.service, route, device.access_token) for device in (callers.ended, callers.erased)]
        for answer in answers:
            assert_problem(answer, 401, "invalid_token")
            assert without_request_id(answer) == without_request_id(answers[0])

    def test_a_disabled_user_is_turned_away(self, callers: Callers, route: tuple[str, str]) -> None:
        """AZ1, AZ5: with a token that is signed, unexpired and of a living session."""
        assert_problem(call(callers.service, route, callers.disabled.access_token), 403, "account_disabled")

    def test_a_user_gets_in(self, callers: Callers, route: tuple[str, str]) -> None:
        """AZ1: the refusals above are for the caller's sake, and not because the route refuses everybody."""
        answer = call(callers.service, route, callers.service.device().access_token)
        assert answer.status_code == (403 if route in ADMINISTRATION else LETS_IN.get(route, 422)), answer.text


class TestAdministration:
    def test_the_table_has_every_route(self) -> None:
        """AZ1: from the OpenAPI document."""
        assert set(STAFF_ROUTES) == set(ADMINISTRATION)

    @pytest.mark.parametrize("route", ADMINISTRATION, ids=" ".join)
    def test_each_role_gets_what_is_its_own(self, service: Service, route: tuple[str, str]) -> None:
        """AZ1: user, support, admin, and a disabled administrator; who is refused changed nothing."""
        body, by_support, by_admin = STAFF_ROUTES[route]
        (method, path), disabled = route, service.staff("admin")
        service.disable(disabled.email)
        callers = [(service.device(), 403, "forbidden"), (disabled, 403, "account_disabled")]
        callers += [(service.staff("support"), by_support, "forbidden"), (service.staff("admin"), by_admin, "")]
        before = service.sql("SELECT count(*) FROM users")
        for device, status, code in callers:
            target = path.format_map(MadeUpIds())
            answer = service.client.request(method, target, json=body, headers=device.headers)
            assert answer.status_code == status, (device.email, answer.text)
            if status == 403:
                assert_problem(answer, 403, code)
                assert ("insufficient_scope" in answer.headers.get("www-authenticate", "")) == (code == "forbidden")
                assert service.sql("SELECT count(*) FROM users") == before


class TestPublicRoutes:
    def test_the_list_names_only_routes_that_exist(self) -> None:
        """AZ1: a stale entry would let a later route of the same name go unguarded."""
        assert set(ROUTES) >= PUBLIC | LETS_IN.keys()
        assert len(GUARDED) >= 6

    @pytest.mark.parametrize("route", sorted(PUBLIC), ids=" ".join)
    def test_they_ask_for_no_access_token(self, shared: Service, route: tuple[str, str]) -> None:
        """AZ1: and behave no differently for one that is garbage, save those that ask less of a signed-in caller."""
        anonymous, garbage = call(shared, route, None), call(shared, route, "garbage")
        assert anonymous.status_code == LETS_IN.get(route, 422)
        if route in WELCOMING:
            assert_problem(garbage, 401, "invalid_token")
            return
        if route == ("GET", "/metrics"):  # which counts the first call before the second
            assert garbage.status_code == anonymous.status_code
            return
        texts = [CHALLENGE.sub("-", str(without_request_id(answer))) for answer in (anonymous, garbage)]
        assert texts[0] == texts[1]

    def test_nothing_is_served_that_no_list_names(self, shared: Service) -> None:
        """AZ1: a route hidden from the OpenAPI document would escape the matrix above."""
        unlisted = set()
        for route in shared.app.routes:
            if isinstance(route, Route | Mount) and not isinstance(route, APIRoute):
                unlisted.add(route.path)
        assert unlisted == UNLISTED
        api = [route for route in shared.app.routes if isinstance(route, APIRoute)]
        hidden = [route.path for route in api if not route.include_in_schema]
        assert all(path.startswith("/console/session/") for path in hidden)  # see test_console_session.py
        assert all(isinstance(route, Route | Mount) for route in shared.app.routes)


class TestOtherPeoplesObjects:
    def test_a_foreign_session_looks_like_an_absent_one(self, service: Service) -> None:
        """AZ2: 404, the same bytes, and the session lives on."""
        owner, stranger = service.device(), service.device()
        foreign = stranger.delete(f"/v1/me/sessions/{owner.session_id}")
        absent = stranger.delete(f"/v1/me/sessions/{uuid.uuid4()}")
        assert_problem(foreign, 404, "not_found")
        assert without_request_id(foreign) == without_request_id(absent)
        assert owner.get("/v1/me").status_code == 200

    def test_lists_hold_the_callers_own_rows_alone(self, service: Service) -> None:
        """AZ2: sessions and ledger; a cursor of somebody else's list opens none of it."""
        owner, stranger = service.device(), service.device()
        for path in ("a/", "b/", "c/"):
            assert owner.vend(path=path).status_code == 200
            service.clock.advance(seconds=1)
        theirs = stranger.vend().json()
        cursor = owner.get("/v1/me/credentials?limit=1").json()["next_cursor"]
        for query in ("", f"?cursor={cursor}"):
            seen = stranger.get(f"/v1/me/credentials{query}").json()["items"]
            assert {entry["credential_id"] for entry in seen} <= {theirs["credential_id"]}
        sessions = stranger.get("/v1/me/sessions").json()["items"]
        assert [entry["session_id"] for entry in sessions] == [stranger.session_id]

    def test_a_foreign_grant_looks_like_an_absent_one(self, service: Service) -> None:
        """AZ2: 404, the same bytes, and the folder stays shared; nobody lists what is others'."""
        owner, grantee, stranger = (service.device() for _ in range(3))
        grant = owner.post("/v1/grants", json={"grantee_email": grantee.email, "path": "albums/"}).json()
        foreign = stranger.delete(f"/v1/grants/{grant['grant_id']}")
        absent = stranger.delete(f"/v1/grants/{uuid.uuid4()}")
        assert_problem(foreign, 404, "not_found")
        assert without_request_id(foreign) == without_request_id(absent)
        foreign = stranger.post(f"/v1/grants/received/{grant['grant_id']}/accept")
        absent = stranger.post(f"/v1/grants/received/{uuid.uuid4()}/accept")
        assert_problem(foreign, 404, "not_found")
        assert without_request_id(foreign) == without_request_id(absent)
        for path in ("/v1/grants", "/v1/grants/received"):
            assert stranger.get(path).json()["items"] == []
        assert grantee.get("/v1/grants/received").json()["items"][0]["grant_id"] == grant["grant_id"]

    @pytest.mark.parametrize("spelling", ["1", "+1", "1_0", "me", "null", "*", "' OR 1=1--", "%2e%2e", "é", "0" * 400])
    def test_ids_are_uuids_and_nothing_else(self, device: Device, spelling: str) -> None:
        """AZ2: nothing that counts, globs or climbs."""
        answer = device.delete(f"/v1/me/sessions/{spelling}")
        assert_problem(answer, 422, "invalid_request")
        assert device.get("/v1/me").status_code == 200


MASS = {
    "is_admin": True,
    "role": "admin",
    "id": str(uuid.uuid4()),
    "user_id": str(uuid.uuid4()),
    "prefix": "users/",
    "status": "active",
    "verified": True,
    "email_verified": True,
    "email_verified_at": "2026-01-01T00:00:00Z",
    "password_hash": "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAA",
    "created_at": "2026-01-01T00:00:00Z",
    "mfa_enabled": True,
    "session_id": str(uuid.uuid4()),
    "__proto__": {"role": "admin"},
    "Email": "other@example.org",
    "": 1,
}

CREDENTIAL_OF_NOBODY = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "clientExtensionResults": {}}
ATTESTED = {**CREDENTIAL_OF_NOBODY, "response": {"clientDataJSON": "AAAA", "attestationObject": "AAAA"}}
ASSERTED = {
    **CREDENTIAL_OF_NOBODY,
    "response": {"clientDataJSON": "AAAA", "authenticatorData": "AAAA", "signature": "AAAA"},
}


FILES = ("/v1/admin/users", "/v1/admin/user-imports")
ACTS = [path for method, path in ADMINISTRATION if method == "POST" and path not in FILES]


BODIES_OF_ACTS: dict[str, dict[str, Any]] = {
    "/v1/admin/users/{user_id}/email": {"new_email": "mass@example.org", **WHY},
    "/v1/admin/users/{user_id}/notes": {"text": "x"},
    "/v1/admin/user-acts": {"act": "sign_out", "user_ids": ["4fa0c1de-7d3b-4a52-9b0e-6a3f1c2d8e90"], **WHY},
    "/v1/admin/authorization-messages/decode": {"encoded_message": "x"},
}


class TestMassAssignment:
    @pytest.mark.parametrize("member", MASS)
    def test_a_member_nobody_asked_for_is_refused(self, shared: Service, device: Device, member: str) -> None:
        """AZ3: in every body of the API: 422, its name not echoed, nothing written."""
        bodies: dict[str, dict[str, Any]] = {
            "/v1/users": {"email": "mass@example.org", "password": PASSWORD},
            "/v1/auth/login": {"email": device.email, "password": PASSWORD},
            "/v1/auth/mfa": {"mfa_token": "tvs_x", "method": "totp", "code": "123456"},
            "/v1/auth/step-up": {"password": PASSWORD},
            "/v1/me/totp/confirm": {"code": "123456"},
            "/v1/auth/refresh": {"refresh_token": device.refresh_token},
            "/v1/auth/logout": {"refresh_token": device.refresh_token},
            "/v1/auth/guest": {},
            "/v1/auth/oidc/local": {"id_token": "x"},
            "/v1/me/identities": {"provider": "local", "id_token": "x"},
            "/v1/me/upgrade": {"email": "mass@example.org", "password": PASSWORD},
            "/v1/credentials": {"access": "read"},
            "/v1/access-checks": {"action": "s3:GetObject", "key": "users/a.jpg"},
            "/v1/uploads": {"path": "a.jpg", "content_type": "image/jpeg", "size": 1},
            "/v1/downloads": {"path": "albums/"},
            "/v1/grants": {"grantee_email": "mass@example.org", "path": "albums/"},
            "/v1/me/passkeys": {"credential": ATTESTED, "name": "mine"},
            "/v1/auth/passkey/options": {},
            "/v1/auth/passkey": {"credential": ASSERTED},
        }
        staff = shared.staff()
        ids = MadeUpIds(user_id=device.user_id)
        bodies |= {path.format_map(ids): BODIES_OF_ACTS.get(path, WHY) for path in ACTS}
        before = row_counts(shared)
        for path, body in bodies.items():
            answer = staff.post(path, json={**body, member: MASS[member]})
            assert_problem(answer, 422, "invalid_request")
            assert [error["location"] for error in answer.json()["errors"]] == ["body"]
        assert row_counts(shared) == before

    def test_the_same_in_the_query_changes_nothing(self, shared: Service) -> None:
        """AZ3: parameters that a route does not have are not looked at."""
        query = {name: str(value) for name, value in MASS.items() if name}
        body = {"email": "query@example.org", "password": PASSWORD}
        assert shared.client.post("/v1/users", params=query, json=body).status_code == 201
        profile = shared.device("query@example.org").get("/v1/me", params=query).json()
        assert (profile["role"], profile["email_verified"], profile["mfa_enabled"]) == ("user", False, False)
        assert profile["id"] not in (MASS["id"], MASS["user_id"])
        assert profile["prefix"] == f"users/{profile['id']}/"


TOKENS = {"token_type", "access_token", "expires_in", "refresh_token", "refresh_expires_in", "session_id"}
PROFILE = {
    *("id", "email", "email_verified", "guest", "display_name", "status", "role", "prefix", "mfa_enabled"),
    "created_at",
}
CREDENTIAL = {
    *("credential_id", "access_key_id", "secret_access_key", "session_token", "expiration", "expires_in"),
    *("server_time", "access", "bucket", "prefix", "region", "endpoint_url", "force_path_style"),
    *("shared_prefixes", "write_prefixes", "shared_part", "shared_parts"),
}
ENTRY = {
    *("credential_id", "access_key_id", "access", "prefix", "shared_prefixes", "session_id", "link_id"),
    *("write_prefixes", "issued_at", "expiration", "revoked_at"),
}
GRANT = {"grant_id", "grantee_email", "prefix", "path", "access", "quota_bytes", "created_at", "expires_at"}
LINK = {
    *("link_id", "path", "access", "label", "has_password", "created_at", "expires_at", "opened_at"),
    *("quota_bytes", "max_contributors", "contributors"),
}
RECEIVED = GRANT - {"grantee_email"} | {"owner_display_name", "owner_email", "accepted_at"}


class TestAnswers:
    def test_they_hold_what_the_contract_lists_and_no_more(self, service: Service) -> None:
        """AZ4: member by member; a new column does not leak into an old answer."""
        device = service.device()
        vended = device.vend()
        signed_in = service.log_in(device.email).json()
        assert service.register("keys@example.org").json().keys() == {"status"}
        assert signed_in.keys() == {"status", "tokens", "mfa"}
        assert signed_in["tokens"].keys() == TOKENS
        assert service.refresh(device.refresh_token).json().keys() == TOKENS
        assert device.get("/v1/me").json().keys() == PROFILE
        assert vended.json().keys() == CREDENTIAL
        container = device.get("/v1/credentials/container").json()
        assert container.keys() == {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
        ledger = device.get("/v1/me/credentials").json()
        assert ledger["items"][0].keys() == ENTRY
        other = service.device()
        wish = {"grantee_email": other.email, "path": "albums/"}
        assert device.post("/v1/grants", json=wish).json().keys() == GRANT
        assert device.get("/v1/grants").json()["items"][0].keys() == GRANT
        received = other.get("/v1/grants/received").json()
        assert received["items"][0].keys() == RECEIVED
        assert device.delete(f"/v1/grants/{received['items'][0]['grant_id']}").json().keys() == {"effective_by"}
        link = device.post("/v1/links", json={"path": "albums/"}).json()
        assert link.keys() == {"link_id", "url", "path", "access", "expires_at", "created_at"}
        assert device.get("/v1/links").json()["items"][0].keys() == LINK
        opened = service.client.post("/v1/links/open", json={"secret": link["url"].partition("#")[2]}).json()
        about = {"link_id", "access", "path_name", "expires_at", "write_prefix", "contributor"}
        assert opened.keys() == about | {"credentials"}
        assert opened["credentials"].keys() == CREDENTIAL
        sessions = device.get("/v1/me/sessions").json()
        assert sessions["items"][0].keys() == {"session_id", "device_name", "created_at", "last_used_at", "current"}
        assert ledger.keys() == sessions.keys() == {"items", "next_cursor"}

    def test_no_stored_secret_is_in_any_of_them(self, service: Service, hashing: CountingContext) -> None:
        """AZ4: password hash, token hash, private key: in no encoding."""
        device = service.device()
        own = {"user_id": device.user_id, "access_key_id": device.vend().json()["access_key_id"]}
        service.sql("UPDATE users SET role = 'admin'")
        file = {**device.headers, "Content-Type": "text/csv"}
        imported = service.client.post("/v1/admin/user-imports", content=f"email\n{device.email}", headers=file)
        own["import_id"] = imported.json()["import_id"]
        paths = [path for method, path in ROUTES if method == "GET" and path not in OF_OTHER_MODES]
        answers = [device.get(path.format_map(own)) for path in paths]
        answers += [service.log_in(device.email), service.refresh(device.refresh_token), device.vend()]
        assert {answer.status_code for answer in answers} == {200}
        everything = "".join(answer.text for answer in answers)
        secret = ("users.password_hash", "refresh_tokens.token_hash", "signing_keys.private_key_encrypted")
        found = {column: value for column, value in stored_values(service) if column in secret}
        assert found.keys() == set(secret)
        for value in found.values():
            text = value if isinstance(value, str) else bytes(value).hex()
            assert text not in everything
        assert hashing.verified
        assert "argon2" not in everything


class TestDisabling:
    def test_it_holds_from_the_next_call_on(self, service: Service) -> None:
        """AZ5: old access token, refresh, sign-in and a vend that the cache could answer."""
        device = service.device()
        assert device.vend().status_code == 200
        vended = len(service.sts.assumed)
        service.disable(device.email)
        assert_problem(device.get("/v1/me"), 403, "account_disabled")
        assert_problem(device.vend(), 403, "account_disabled")
        assert_problem(device.get("/v1/credentials/container"), 403, "account_disabled")
        assert_problem(service.refresh(device.refresh_token), 403, "account_disabled")
        assert_problem(service.log_in(device.email), 403, "account_disabled")
        assert len(service.sts.assumed) == vended
        refused = service.sql(
            "SELECT event FROM audit_events WHERE outcome = 'refused' AND CAST(detail AS TEXT) LIKE '%disabled%'"
        )
        assert sorted(event for (event,) in refused) == ["access.refused", "session.refreshed", "session.started"]

    def test_a_wrong_password_does_not_tell_that_an_account_is_disabled(self, service: Service) -> None:
        """AZ5: the 403 is for who knows the password."""
        device = service.device()
        wrong = service.log_in(device.email, "not the password")
        service.disable(device.email)
        assert without_request_id(service.log_in(device.email, "not the password")) == without_request_id(wrong)

    def test_the_role_is_read_on_every_call(self, service: Service) -> None:
        """AZ5: a demotion does not wait for a token to expire; no token says what its bearer may do."""
        device = service.device()
        for role in ("admin", "user"):
            service.sql("UPDATE users SET role = :role WHERE email = :email", role=role, email=device.email)
            assert device.get("/v1/me").json()["role"] == role

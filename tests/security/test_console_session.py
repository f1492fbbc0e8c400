"""The console's session: a cookie that refreshes it and nothing else, for pages of this service alone."""

from base64 import b32decode
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie

import pytest
from fastapi.routing import APIRoute
from httpx2 import Response

from app.http.cookies import NAME, PATH, SECURE_NAME
from tests.security.observed import assert_problem
from tests.support.authenticator import totp
from tests.support.logged import capture_logs
from tests.support.service import PASSWORD, Service

MakeService = Callable[..., Service]
OWN = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
PUBLIC_URL = "https://photos.example.org/eu/tokens"
PRODUCTION = {"public_url": PUBLIC_URL, "allowed_hosts": ["photos.example.org"]}
ROUTES = ["login", "logout", "mfa", "passkey", "refresh", "step-up"]


def ask(service: Service, call: str, json: object = None, *, cookie: str = "", **headers: str) -> Response:
    """A call of the page. The client keeps no cookie of its own."""
    service.client.cookies.clear()
    sent = OWN | ({"Cookie": cookie} if cookie else {}) | headers
    return service.client.post(f"{PATH}/{call}", json=json, headers=sent)


def given(answer: Response) -> Mapping[str, str]:
    """The attributes of the one cookie that an answer sets, with its name and value."""
    (field,) = answer.headers.get_list("set-cookie")
    (morsel,) = SimpleCookie(field).values()
    return {name: str(value) for name, value in morsel.items() if value} | {
        "name": morsel.key,
        "value": morsel.value,
    }


def jar(answer: Response) -> str:
    return f"{given(answer)['name']}={given(answer)['value']}"


def enter(service: Service) -> Response:
    email = service.device().email
    answer = ask(service, "login", {"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer


class TestCookie:
    def test_alone_holds_the_refresh_token(self, shared: Service) -> None:
        """TK22: HttpOnly, SameSite=Strict, bound to the session's path, gone with the browser; no script gets it."""
        answer = enter(shared)
        cookie = given(answer)
        assert cookie["value"].startswith("tvr_")
        assert {name: cookie[name] for name in ("httponly", "secure", "samesite", "path", "name")} == {
            "httponly": "True",
            "secure": "True",
            "samesite": "strict",
            "path": "/console/session",
            "name": SECURE_NAME,
        }
        assert cookie.keys() & {"max-age", "expires", "domain"} == set()
        assert "tvr_" not in answer.text
        assert answer.json()["tokens"].keys() == {"access_token", "expires_in", "session_id"}

    @pytest.mark.parametrize(
        ("origin", "settings"),
        [
            ("https://photos.example.org", PRODUCTION),
            ("http://192.168.1.7", {"public_url": "http://192.168.1.7"}),
            ("http://localhost", {"public_url": "http://localhost", "environment": "production"}),
        ],
        ids=["https", "http on a network", "production"],
    )
    def test_travels_over_tls_alone(self, make_service: MakeService, origin: str, settings: dict[str, object]) -> None:
        """TK22: except from a loopback address in development. The path of a shared host is part of its path."""
        if settings.get("environment") == "production":
            settings |= {
                "smtp_url": "smtp://127.0.0.1:9",
                "mail_from": "photos@example.org",
                "email_verification": "off",
                "AWS_REGION": "us-east-1",
                "rate_limits": "on",
            }
        service = make_service(**settings)
        host = {"Origin": origin, "Host": origin.partition("://")[2]}
        body = {"email": "ada@example.org", "password": PASSWORD}
        assert service.client.post("/v1/users", json=body, headers={"Host": host["Host"]}).status_code == 201
        cookie = given(ask(service, "login", body, **host))
        assert (cookie["name"], cookie["secure"]) == (SECURE_NAME, "True")
        assert cookie["path"] == f"{service.settings.path}/console/session"

    def test_works_without_tls_on_the_machine_of_a_developer(self, make_service: MakeService) -> None:
        """TK22: not every browser takes a Secure cookie from http://localhost."""
        service = make_service(public_url="http://localhost:8000")
        host = {"Origin": "http://localhost:8000", "Host": "localhost:8000"}
        body = {"email": "ada@example.org", "password": PASSWORD}
        service.client.post("/v1/users", json=body, headers={"Host": host["Host"]})
        entered = ask(service, "login", body, **host)
        assert (given(entered)["name"], "secure" in given(entered)) == (NAME, False)
        assert ask(service, "refresh", cookie=jar(entered), **host).json() is not None

    def test_refreshes_and_rotates(self, shared: Service) -> None:
        """TK9, TK22: the answer has a new access token, the cookie a new refresh token; the old one is used up."""
        entered = enter(shared)
        renewed = ask(shared, "refresh", cookie=jar(entered))
        assert renewed.status_code == 200
        assert jar(renewed) != jar(entered)
        assert "tvr_" not in renewed.text
        bearer = {"Authorization": f"Bearer {renewed.json()['access_token']}"}
        assert shared.client.get("/v1/me", headers=bearer).status_code == 200

    def test_that_comes_back_ends_the_session(self, service: Service) -> None:
        """TK10, TK11: within the grace it gives the same successor; later it was copied, and both holders are out."""
        entered = enter(service)
        renewed = ask(service, "refresh", cookie=jar(entered))
        assert jar(ask(service, "refresh", cookie=jar(entered))) == jar(renewed)
        ask(service, "refresh", cookie=jar(renewed))
        service.clock.advance(seconds=31)
        reused = ask(service, "refresh", cookie=jar(entered))
        assert_problem(reused, 401, "refresh_token_reused")
        assert (given(reused)["value"], given(reused)["max-age"]) == ("", "0")
        assert_problem(ask(service, "refresh", cookie=jar(renewed)), 401, "invalid_refresh_token")

    def test_is_cleared_by_a_sign_out(self, shared: Service) -> None:
        """TK13, TK22: and its session ends; without a cookie nobody is signed in, which is no error."""
        entered = enter(shared)
        left = ask(shared, "logout", cookie=jar(entered))
        assert (left.status_code, given(left)["value"], given(left)["max-age"]) == (204, "", "0")
        assert given(left)["path"] == "/console/session"
        assert_problem(ask(shared, "refresh", cookie=jar(entered)), 401, "invalid_refresh_token")
        nobody = ask(shared, "refresh")
        assert (nobody.status_code, nobody.json()) == (200, None)
        assert nobody.headers.get_list("set-cookie") == []
        assert ask(shared, "logout").status_code == 204

    def test_opens_nothing_but_its_own_session(self, shared: Service) -> None:
        """TK16, TK22: neither the API nor the refresh of other clients looks at it."""
        cookie = {"Cookie": jar(enter(shared))}
        shared.client.cookies.clear()
        assert_problem(shared.client.get("/v1/me", headers=cookie), 401, "unauthenticated")
        assert_problem(shared.client.get("/v1/admin/users", headers=cookie), 401, "unauthenticated")
        assert shared.client.post("/v1/auth/refresh", headers=cookie).status_code == 422
        assert shared.client.post("/v1/auth/logout", headers=cookie).status_code == 422
        assert_problem(ask(shared, "step-up", {"password": PASSWORD}, **cookie), 401, "unauthenticated")

    def test_from_a_sibling_host_is_not_taken_for_ours(self, shared: Service) -> None:
        """TK22: a sibling can set a cookie of the same name for the whole domain; of two, neither is believed."""
        ours, theirs = jar(enter(shared)), jar(enter(shared))
        tossed = ask(shared, "refresh", cookie=f"{theirs}; {ours}")
        assert (tossed.status_code, tossed.json()) == (200, None)
        assert ask(shared, "refresh", cookie=ours).json() is not None

    def test_stays_when_a_step_up_renews_the_session(self, shared: Service) -> None:
        """TK22: the new refresh token goes into the cookie too; a second factor is asked for as everywhere."""
        device = shared.device()
        secret = b32decode(device.post("/v1/me/totp").json()["secret"])
        assert device.post("/v1/me/totp/confirm", {"code": totp(secret, shared.clock.now())}).status_code == 200
        asked = ask(shared, "login", {"email": device.email, "password": PASSWORD})
        assert (asked.json()["status"], asked.headers.get_list("set-cookie")) == ("mfa_required", [])
        shared.clock.advance(seconds=30)
        answer = {"mfa_token": asked.json()["mfa"]["mfa_token"], "method": "totp"}
        entered = ask(shared, "mfa", answer | {"code": totp(secret, shared.clock.now())})
        assert entered.status_code == 200
        shared.clock.advance(seconds=30)
        bearer = f"Bearer {entered.json()['tokens']['access_token']}"
        proof = {"method": "totp", "code": totp(secret, shared.clock.now())}
        renewed = ask(shared, "step-up", proof, Authorization=bearer)
        assert renewed.json().keys() == {"access_token", "expires_in", "session_id"}
        assert jar(renewed) != jar(entered)

    def test_is_not_logged(self, shared: Service) -> None:
        """OP1, TK22: neither its name nor its value, whether it is taken or refused."""
        cookie = jar(enter(shared))
        with capture_logs() as events:
            ask(shared, "refresh", cookie=cookie)
            ask(shared, "refresh", cookie=f"{cookie}x")
            ask(shared, "refresh", cookie=cookie, Origin="https://evil.example")
        assert len(events) >= 3
        assert cookie.partition("=")[2][4:] not in str(events)


class TestPages:
    def test_of_the_console_have_these_calls_alone(self, shared: Service) -> None:
        """AZ1: a call that is added here is tried below."""
        served = {route.path for route in shared.app.routes if isinstance(route, APIRoute)}
        assert sorted(path for path in served if path.startswith(PATH)) == [f"{PATH}/{call}" for call in ROUTES]

    @pytest.mark.parametrize("call", ROUTES)
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": "https://testserver"},
            {"Origin": "http://testserver:8080"},
            {"Origin": "http://photos.testserver"},
            {"Origin": "http://testserver.evil.example"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "none"},
        ],
        ids=str,
    )
    def test_of_other_origins_are_refused(self, shared: Service, call: str, headers: dict[str, str]) -> None:
        """TK22: another site, scheme, port or sub-domain, and what the browser says of the request."""
        refused = ask(shared, call, cookie=f"{SECURE_NAME}=x", **headers)
        assert_problem(refused, 400, "origin_not_allowed")
        assert refused.headers.get_list("set-cookie") == []

    def test_say_their_origin_once(self, shared: Service) -> None:
        """TK22: a request without Origin is no page's, and two of them are nobody's."""
        shared.client.cookies.clear()
        for headers in ([], [("Origin", "http://testserver")] * 2):
            assert_problem(shared.client.post(f"{PATH}/refresh", headers=headers), 400, "origin_not_allowed")

    def test_of_an_allowed_app_are_not_the_console(self, make_service: MakeService) -> None:
        """TK22, HT6: CORS lets an app call the API, and never the console's session."""
        service = make_service(cors_origins=["https://app.example.org"])
        refused = ask(service, "refresh", Origin="https://app.example.org", **{"Sec-Fetch-Site": "cross-site"})
        assert_problem(refused, 400, "origin_not_allowed")
        assert "access-control-allow-credentials" not in refused.headers

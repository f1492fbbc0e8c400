"""Request bodies that parsers disagree about, choke on or are drowned by: a documented 4xx, and nothing written."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from httpx2 import Response
from starlette.types import Message

from app.platform.printable import is_printable
from tests.security.observed import assert_problem, row_counts
from tests.support.service import PASSWORD, Device, Service

Make = Callable[[bytes], bytes]

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/users": {"email": "body@example.org", "password": PASSWORD},
    "/v1/auth/login": {"email": "body@example.org", "password": PASSWORD},
    "/v1/auth/mfa": {"mfa_token": "tvs_" + "A" * 43, "method": "totp", "code": "123456"},
    "/v1/auth/step-up": {"password": PASSWORD},
    "/v1/me/totp/confirm": {"code": "123456"},
    "/v1/auth/refresh": {"refresh_token": "tvr_" + "A" * 43},
    "/v1/auth/logout": {"refresh_token": "tvr_" + "A" * 43},
    "/v1/credentials": {"path": "album/"},
}
"""Every route that takes a body, with one that it would take."""


def last_member(good: bytes, text: str) -> bytes:
    """The good body with one more member, whose value need not be JSON."""
    return good[:-1] + b"," + text.encode() + b"}"


UNREADABLE: dict[str, Make] = {
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "UTF-16 without BOM": lambda good: good.decode().encode("utf-16-le"),
    "UTF-32": lambda good: good.decode().encode("utf-32"),
    "UTF-8 with BOM": lambda good: b"\xef\xbb\xbf" + good,
    "UTF-7": lambda good: b"+AHs-" + good[1:],
    "Latin-1": lambda good: last_member(good, '"x":"é"').decode().encode("latin-1"),
    "an overlong NUL": lambda good: last_member(good, '"x":"-"').replace(b"-", b"\xc0\x80"),
    "a surrogate in bytes": lambda good: last_member(good, '"x":"-"').replace(b"-", b"\xed\xa0\x80"),
    "gzip": gzip.compress,
    "nested 60,000 deep": lambda good: b'{"a":' + b"[" * 60_000,
    "nested 30,000 deep and closed": lambda good: b"[" * 30_000 + b"]" * 30_000,
    "nested objects": lambda good: b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a number of 5,000 digits": lambda good: last_member(good, f'"x":{"9" * 5000}'),
    "NaN": lambda good: last_member(good, '"x":NaN'),
    "Infinity": lambda good: last_member(good, '"x":Infinity'),
    "-Infinity": lambda good: last_member(good, '"x":-Infinity'),
    "a lone surrogate": lambda good: last_member(good, '"x":"\\ud800"'),
    "a lone low surrogate": lambda good: last_member(good, '"x":"\\udc00a"'),
    "a lone surrogate as a name": lambda good: last_member(good, '"\\udfff":1'),
    "a member twice": lambda good: good[:-1] + b"," + good[1:],
    "a member twice, one escaped": lambda good: last_member(good, f'"\\u00{good[2]:x}' + good[3:].decode()[:-1]),
    "an inner member twice": lambda good: last_member(good, '"x":{"a":1,"a":2}'),
    "a comma at the end": lambda good: good[:-1] + b",}",
    "a comment": lambda good: b"/* */" + good,
    "single quotes": lambda good: good.replace(b'"', b"'"),
    "two documents": lambda good: good + good,
    "something after it": lambda good: good + b"\0",
    "cut short": lambda good: good[:-3],
    "only space": lambda good: b"   ",
    "only NUL": lambda good: b"\0",
    "a control character in a string": lambda good: last_member(good, '"x":"\n"'),
    "hexadecimal": lambda good: last_member(good, '"x":0x10'),
    "a leading zero": lambda good: last_member(good, '"x":010'),
    "XML": lambda good: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "a form": lambda good: b"email=body%40example.org&password=violet",
    "a pickle": lambda good: b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
}

MISFITS: dict[str, Make] = {
    "a list": lambda good: b"[]",
    "a list of one": lambda good: b"[" + good + b"]",
    "a string": lambda good: b'"x"',
    "a number": lambda good: b"1",
    "true": lambda good: b"true",
    "an unknown member": lambda good: last_member(good, '"x":1'),
    "an unknown member of 1e400": lambda good: last_member(good, '"x":1e400'),
    "an unknown member nested 900 deep": lambda good: last_member(good, '"x":' + "[" * 900 + "]" * 900),
    "every value an integer": lambda good: json.dumps(dict.fromkeys(json.loads(good), 12345678901)).encode(),
    "every value a float": lambda good: json.dumps(dict.fromkeys(json.loads(good), 1.5)).encode(),
    "every value true": lambda good: json.dumps(dict.fromkeys(json.loads(good), True)).encode(),
    "every value null": lambda good: json.dumps(dict.fromkeys(json.loads(good))).encode(),
    "every value a list": lambda good: json.dumps({name: [value] for name, value in json.loads(good).items()}).encode(),
    "every value an object": lambda good: json.dumps({name: {"$ne": 1} for name in json.loads(good)}).encode(),
}

FOREIGN_TYPES = [
    None, "", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x", "application/jsonp", "application/json+x", "application/problem+json",
    "text/json", "application/*", "*/*", "application/octet-stream", "application/xml", "json", ";application/json",
    "text/plain, application/json",
]  # fmt: skip


@pytest.fixture(scope="module")
def device(shared: Service) -> Device:
    return shared.device("body@example.org")


def send(device: Device, path: str, body: bytes | Iterator[bytes], **headers: str) -> Response:
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return device.service.client.post(path, content=body, headers={**device.headers, **given})


@pytest.mark.parametrize("path", ROUTES)
class TestStrictJson:
    @pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
    def test_what_is_not_one_json_text_is_refused(self, device: Device, path: str, make: Make) -> None:
        """HT3: 400, whatever a more lenient parser would make of it."""
        before = row_counts(device.service)
        assert_problem(send(device, path, make(json.dumps(ROUTES[path]).encode())), 400, "malformed_request")
        assert row_counts(device.service) == before

    @pytest.mark.parametrize("make", MISFITS.values(), ids=MISFITS)
    def test_no_value_is_bent_into_a_type(self, device: Device, path: str, make: Make) -> None:
        """HT3: an integer is no password, a list no address, and no member is ignored: 422."""
        before = row_counts(device.service)
        answer = send(device, path, make(json.dumps(ROUTES[path]).encode()))
        assert answer.status_code == 422
        assert_problem(answer, 422, answer.json()["code"])
        assert answer.json()["code"] in ("invalid_request", "invalid_path")
        assert row_counts(device.service) == before

    def test_another_media_type_is_refused(self, device: Device, path: str) -> None:
        """HT3: 415, so that no form of another site can post here without a preflight."""
        good = json.dumps(ROUTES[path]).encode()
        before = row_counts(device.service)
        for media_type in FOREIGN_TYPES:
            headers = device.headers if media_type is None else {**device.headers, "Content-Type": media_type}
            answer = device.service.client.post(path, content=good, headers=headers)
            assert_problem(answer, 415, "unsupported_media_type")
        assert row_counts(device.service) == before

    def test_a_charset_is_a_parameter_of_json(self, device: Device, path: str) -> None:
        body = json.dumps(ROUTES[path]).encode()
        plain, named = (
            send(device, path, body, Content_Type=f"application/json{end}") for end in ("", ";charset=UTF-8")
        )
        assert named.status_code == plain.status_code != 415

    def test_an_encoded_body_is_not_unpacked(self, device: Device, path: str) -> None:
        """HT3: no Content-Encoding is honoured, so no bomb goes off."""
        packed = gzip.compress(b" " * 10_000_000 + json.dumps(ROUTES[path]).encode())
        for encoding in ("gzip", "deflate", "br", "identity, gzip"):
            assert_problem(send(device, path, packed, Content_Encoding=encoding), 400, "malformed_request")

    def test_the_good_body_is_taken(self, device: Device, path: str) -> None:
        """HT3: the refusals above are for what was changed."""
        answer = send(device, path, json.dumps(ROUTES[path]).encode())
        expected = {
            "/v1/users": 409,
            "/v1/auth/mfa": 401,
            "/v1/me/totp/confirm": 404,
            "/v1/auth/refresh": 401,
            "/v1/auth/logout": 204,
        }
        assert answer.status_code == expected.get(path, 200)


@pytest.mark.parametrize("path", ROUTES)
class TestSize:
    def test_ten_megabytes_are_refused(self, device: Device, path: str) -> None:
        """HT1: with a Content-Length, before a byte of it is looked at."""
        assert_problem(send(device, path, b"[" * 10_000_000), 413, "content_too_large")

    def test_chunks_are_counted(self, device: Device, path: str) -> None:
        """HT1: without a Content-Length no more is read than the limit and the piece that exceeds it."""
        read, sent = 0, []

        async def receive() -> Message:
            nonlocal read
            read += 1
            assert read < 100, "it reads without end"
            return {"type": "http.request", "body": b" " * 32_768, "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"host", b"testserver"), (b"content-type", b"application/json")]
        scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "state": {}}
        scope |= {"path": path, "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}
        assert device.service.client.portal is not None
        device.service.client.portal.call(device.service.app, scope, receive, send)
        assert sent[0]["status"] == 413
        assert read == 3

    def test_a_byte_decides(self, device: Device, path: str) -> None:
        """HT1: 65,536 bytes are read, and found wanting for another reason; 65,537 are not."""
        filler = json.dumps({"x": ""}).encode()
        allowed = filler[:-2] + b"a" * (65_536 - len(filler)) + filler[-2:]
        assert len(allowed) == 65_536
        assert_problem(send(device, path, allowed), 422, "invalid_request")
        assert_problem(send(device, path, allowed + b" "), 413, "content_too_large")
        assert_problem(send(device, path, iter([allowed, b" "])), 413, "content_too_large")


class TestText:
    @pytest.mark.parametrize("text", ["\0", "a\0b", "\x1b[2J", "\r\n", "\u2028", "\x85", "\u202eevil", ""], ids=ascii)
    def test_names_are_printable(self, device: Device, text: str) -> None:
        """HT3, HT12: no control character and no separator of lines reaches a device's or a user's name."""
        before = row_counts(device.service)
        registered = device.service.register("name@example.org", display_name=text)
        assert_problem(registered, 422, "invalid_request")
        assert row_counts(device.service) == before
        assert device.service.log_in(device.email, device_name=text).status_code == 200
        kept = [row["device_name"] or "" for row in device.get("/v1/me/sessions").json()["items"]]
        assert all(is_printable(name) and name == name.strip() for name in kept)

    def test_a_password_holds_no_nul(self, device: Device) -> None:
        """HT3: C libraries would end it there."""
        for answer in (
            device.service.register("nul@example.org", f"{PASSWORD}\0tail"),
            device.service.log_in(device.email, f"{PASSWORD}\0"),
        ):
            assert_problem(answer, 422, "invalid_request")

    @pytest.mark.parametrize(
        "value", [899, 3601, -1, 0, 10**9, 10**300, 2**31, 2**63, 3600.0, "3600", True, [3600], {"$gt": 0}]
    )
    def test_a_duration_is_a_whole_number_in_its_range(self, device: Device, value: object) -> None:
        """HT3: neither overflow nor conversion; STS is not asked."""
        asked = len(device.service.sts.forms)
        answer = device.vend(duration_seconds=value)
        assert answer.status_code == 422
        assert answer.json()["code"] in ("invalid_duration", "invalid_request")
        assert len(device.service.sts.forms) == asked

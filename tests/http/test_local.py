"""What counts as this machine."""

from typing import Any

import pytest

from app.http.local import has_local_peer, is_local, is_loopback


def scope(client: object = ("127.0.0.1", 50_000), *names: bytes, version: str = "1.1") -> dict[str, Any]:
    headers = [(b"host", b"127.0.0.1:8000"), *((name, b"127.0.0.1") for name in names)]
    return {"client": client, "http_version": version, "headers": headers}


class TestLoopback:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1", "localhost"])
    def test_is_by_address_or_its_one_name(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host",
        [
            "0.0.0.0",
            "::",
            "",
            "192.0.2.1",
            "fe80::1",
            "::ffff:192.0.2.1",
            "localhost.example.org",
            "127.1",
            "testclient",
        ],
    )
    def test_is_nothing_else(self, host: str) -> None:
        assert not is_loopback(host)


class TestPeer:
    @pytest.mark.parametrize("client", [None, ("", 0), ("192.0.2.1", 1), ("2001:db8::1", 1), ("unix:", None)])
    def test_of_another_machine_or_a_unix_socket_is_not_local(self, client: object) -> None:
        assert not has_local_peer(scope(client))
        assert not is_local(scope(client))


class TestRequest:
    def test_is_local_without_traces_of_a_proxy(self) -> None:
        assert is_local(scope())
        assert is_local(scope(("::1", 50_000)))

    @pytest.mark.parametrize(
        "name",
        [
            *(b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-anything"),
            *(b"x-real-ip", b"via", b"true-client-ip", b"cf-connecting-ip"),
        ],
    )
    def test_that_a_proxy_passed_on_is_not_local(self, name: bytes) -> None:
        """OP7: also where the proxy says that its client was on the loopback."""
        assert not is_local(scope(("127.0.0.1", 50_000), name))

    def test_of_http_1_0_is_not_local(self) -> None:
        """OP7: nginx passes requests on by HTTP/1.0 and without a header, unless it is told otherwise."""
        assert not is_local(scope(version="1.0"))

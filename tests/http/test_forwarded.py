"""Who the client is, from what proxies write into X-Forwarded-For."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.http.forwarded import Client, find_client, make_reader, read_networks
from tests.platform.test_metrics import value
from tests.support.logged import capture_logs
from tests.support.service import Service
from tests.tiers import up_to

PROXY = "127.0.0.1"
TRUSTED = read_networks([PROXY, "10.0.0.0/8", "fd00::/8"])

WRITTEN = {
    "203.0.113.7": "203.0.113.7",
    "203.0.113.7:51008": "203.0.113.7",
    '"203.0.113.7:51008"': "203.0.113.7",
    "[203.0.113.7]": None,
    "2001:db8::7": "2001:db8::7",
    "2001:0DB8:0::7": "2001:db8::7",
    "[2001:db8::7]": "2001:db8::7",
    "[2001:db8::7]:51008": "2001:db8::7",
    '"[2001:db8::7]:51008"': "2001:db8::7",
    '"[2001:db8::7]"': "2001:db8::7",
    "::ffff:203.0.113.7": "203.0.113.7",
    "::FFFF:203.0.113.7": "203.0.113.7",
    "::ffff:cb00:7107": "203.0.113.7",
    "[::ffff:203.0.113.7]:51008": "203.0.113.7",
    "fe80::1%eth0": "fe80::1",
    "[fe80::1%25eth0]:443": "fe80::1",
    "fe80::1%en-0.1~x": "fe80::1",
    "\t 203.0.113.7 \t": "203.0.113.7",
    "203.0.113.7,": "203.0.113.7",
    "203.0.113.7 , ,\t,": "203.0.113.7",
    ",203.0.113.7": "203.0.113.7",
    "6.6.6.6, 203.0.113.7:51008": "203.0.113.7",
    "6.6.6.6, 203.0.113.7:17085, 10.0.0.6": "203.0.113.7",
    "203.0.113.7:17085, 10.0.0.6:80, [fd00::5]:443, ::ffff:10.1.1.1": "203.0.113.7",
    "10.0.0.6": "10.0.0.6",
    "nonsense, 203.0.113.7": "203.0.113.7",
    "unknown": None,
    "_hidden": None,
    "203.0.113": None,
    "203.0.113.256": None,
    "203.0.113.07": None,
    "203.0.113.7:": None,
    "203.0.113.7:port": None,
    "203.0.113.7:510080": None,
    "203.0.113.7%eth0": None,
    "203.0.113.7/32": None,
    "203.0.113.7 6.6.6.6": None,
    "\u00a0203.0.113.7": None,
    "'203.0.113.7'": None,
    '"203.0.113.7': None,
    '""': None,
    '"': None,
    "[2001:db8::7": None,
    "2001:db8::7]": None,
    "[]:80": None,
    "fe80::1%": None,
    "fe80::1%" + "x" * 300: None,
    "fe80::1%'; DROP TABLE users": None,
    "for=203.0.113.7": None,
    "client.example.org": None,
    "0x7f.1": None,
    "3405803783": None,
}


def found(*fields: bytes, peer: str | None = PROXY, name: bytes = b"x-forwarded-for") -> Client:
    scope: dict[str, Any] = {"client": (peer, 50_000) if peer else None, "headers": [(name, one) for one in fields]}
    return find_client(scope, make_reader(TRUSTED))


class TestHeader:
    @pytest.mark.parametrize(("field", "address"), WRITTEN.items(), ids=ascii)
    def test_is_read_as_proxies_write_it_or_not_at_all(self, field: str, address: str | None) -> None:
        """HT8: whoever cannot be told apart is counted under the proxy's address."""
        expected = Client(address, None) if address else Client(PROXY, "unreadable")
        assert found(field.encode("latin-1")) == expected

    def test_fields_are_one_list(self) -> None:
        assert found(b"6.6.6.6", b"203.0.113.7:1, 10.0.0.6", b"", b"10.0.0.7") == Client("203.0.113.7", None)

    def test_that_is_missing_is_a_fault(self) -> None:
        for fields in ((), (b"",), (b" , ,",)):
            assert found(*fields) == Client(PROXY, "missing")

    @pytest.mark.parametrize("name", [b"forwarded", b"x-real-ip", b"x-client-ip", b"x-forwarded"])
    def test_others_are_not_read(self, name: bytes) -> None:
        """HT8: a proxy that writes one passes on what a client put into another."""
        assert found(b"203.0.113.7", name=name) == Client(PROXY, "missing")

    def test_beyond_a_hop_that_cannot_be_read_nobody_is_believed(self) -> None:
        """HT8"""
        assert found(b"6.6.6.6, unknown, 10.0.0.6") == Client("10.0.0.6", "unreadable")

    @pytest.mark.parametrize("peer", ["203.0.113.9", "::ffff:203.0.113.9", "::FFFF:203.0.113.9", "2001:db8::9"])
    def test_of_a_stranger_is_not_read(self, peer: str) -> None:
        """HT8"""
        assert found(b"6.6.6.6", peer=peer) == Client(peer.lower().removeprefix("::ffff:"), None)

    @pytest.mark.parametrize("peer", ["::ffff:127.0.0.1", "::FFFF:10.9.9.9", "fd00::1%eth0"])
    def test_of_a_proxy_is_read_however_its_own_address_is_written(self, peer: str) -> None:
        assert found(b"203.0.113.7", peer=peer) == Client("203.0.113.7", None)

    def test_of_a_unix_socket_is_not_read(self) -> None:
        assert found(b"6.6.6.6", peer=None) == Client("", None)

    def test_a_network_of_mapped_addresses_trusts_the_addresses(self) -> None:
        trusted = read_networks(["::ffff:10.0.0.0/104", "::ffff:127.0.0.1"])
        assert trusted == read_networks(["10.0.0.0/8", "127.0.0.1/32"])


pieces = st.sampled_from(
    [
        *'[]":,%;= \t.',
        "::",
        "::ffff:",
        "203.0.113.7",
        "10.0.0.6",
        "2001:db8::7",
        "fe80::1",
        "eth0",
        "51008",
        "\xff",
        "0",
    ]
)
fields = st.lists(st.lists(pieces, max_size=8).map("".join) | st.text(st.characters(max_codepoint=255)), max_size=4)
peers = st.sampled_from([PROXY, "10.9.9.9", "::ffff:10.0.0.1"])


class TestAnyHeader:
    @given(fields, peers)
    @example(["[" * 10_000], PROXY)
    @up_to(300)
    def test_leads_to_an_address(self, texts: list[str], peer: str) -> None:
        """HT8, HT12: it never raises, and nothing but a plain address gets into limits, audit and log."""
        client = found(*(text.encode("latin-1") for text in texts), peer=peer)
        assert str(ip_address(client.address)) == client.address
        assert "%" not in client.address
        assert getattr(ip_address(client.address), "ipv4_mapped", None) is None

    @given(fields, st.ip_addresses())
    @up_to(300)
    def test_of_a_stranger_changes_nothing(self, texts: list[str], peer: Any) -> None:
        """HT8"""
        plain = found(peer=str(peer))
        read = found(*(text.encode("latin-1") for text in texts), peer=str(peer))
        if not any(ip_address(plain.address) in network for network in TRUSTED):
            assert read == plain

    @given(st.ip_addresses(), st.integers(0, 65_535), st.booleans(), st.booleans(), fields)
    @up_to(300)
    def test_that_a_proxy_ends_with_an_address_leads_to_it(
        self, address: Any, port: int, with_port: bool, quoted: bool, before: list[str]
    ) -> None:
        """Whatever the client itself put before it."""
        text = f"[{address}]" if address.version == 6 else str(address)
        text += f":{port}" if with_port else ""
        text = f'"{text}"' if quoted else text
        client = found(",".join([*before, text]).encode("latin-1"))
        mapped = address.ipv4_mapped if address.version == 6 else None
        address = mapped or address
        if not any(address in network for network in TRUSTED):
            assert client == Client(str(address), None)


class TestService:
    def test_clients_behind_a_gateway_that_writes_ports_are_told_apart(
        self, make_service: Callable[..., Service]
    ) -> None:
        """HT8: or thirty guests a minute would be all that a whole deployment takes."""
        service = make_service(rate_limits="on", trusted_proxies=(PROXY, "10.0.0.0/8"))
        for number in range(34):
            headers = {"X-Forwarded-For": f"198.51.100.{number}:{51000 + number}, 10.0.0.6"}
            assert service.client.post("/v1/auth/guest", json={}, headers=headers).status_code == 200
        addresses = {row[0] for row in service.sql("SELECT address FROM audit_events WHERE event = 'session.started'")}
        assert addresses == {f"198.51.100.{number}" for number in range(34)}

    def test_a_header_that_cannot_be_read_is_counted_and_told_once(self, make_service: Callable[..., Service]) -> None:
        service = make_service(trusted_proxies=(PROXY,))
        with capture_logs() as logs:
            for hop in ("unknown", "secret-7d1f", "203.0.113.7"):
                service.client.get("/v1/me", headers={"X-Forwarded-For": hop})
            for _ in range(3):
                service.client.get("/v1/me")
            service.client.get("/healthz")  # a load balancer's own request
        told = [log for log in logs if log["event"] == "client_address_unread"]
        assert [(one["log_level"], one["fault"], one["proxy"]) for one in told] == [
            ("warning", "unreadable", PROXY),
            ("warning", "missing", PROXY),
        ]
        assert all("X-Forwarded-For" in one["mend"] for one in told)
        assert "secret-7d1f" not in str(logs)
        assert value(service, 'tokenvend_client_addresses_unread_total{fault="unreadable"}') == 2
        assert value(service, 'tokenvend_client_addresses_unread_total{fault="missing"}') == 3

    def test_without_trusted_proxies_there_is_nothing_to_read(self, service: Service) -> None:
        service.client.get("/v1/me", headers={"X-Forwarded-For": "unknown"})
        assert value(service, 'tokenvend_client_addresses_unread_total{fault="unreadable"}') == 0

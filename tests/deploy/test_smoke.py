"""`deploy/smoke` against `tokenvend serve` behind a proxy that ends TLS: a good one, and one broken in each way."""

import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from app.engine.certificate import self_signed
from app.records.migrate import upgrade
from tests.deploy.reading import DEPLOY, ROOT, wait_for
from tests.support.canned_sts import CannedSts
from tests.support.databases import SqliteDatabases
from tests.support.service import ROLE_ARN, SECRET_KEY

pytestmark = [pytest.mark.all, pytest.mark.sampled(3)]

Change = Callable[[bytes], bytes]


class Proxy:
    """Ends TLS on loopback, one request a connection. What it is told to change breaks the deployment."""

    def __init__(self, directory: Path) -> None:
        certificate, key = self_signed("smoke")
        self.certificate = directory / "proxy.pem"
        self.certificate.write_text(certificate)
        (directory / "proxy.key").write_text(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, directory / "proxy.key")
        self.upstream = 0
        self.request: Change = bytes
        self.answer: Change = bytes
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    with context.wrap_socket(self.request, server_side=True) as client:
                        proxy._pass(client)
                except OSError:
                    pass  # it does not trust the certificate, or nobody is behind

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _pass(self, client: ssl.SSLSocket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and (piece := client.recv(65536)):
            request += piece
        with socket.create_connection(("127.0.0.1", self.upstream), timeout=10) as service:
            service.sendall(self.request(request))
            answer = b"".join(iter(lambda: service.recv(65536), b""))
        client.sendall(self.answer(answer))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def standing(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A deployment as in production, by the proxy in front of it."""
    directory = tmp_path_factory.mktemp("smoke")
    proxy, sts = Proxy(directory), CannedSts()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        proxy.upstream = probe.getsockname()[1]
    database_url = sqlite_databases.create(directory)
    upgrade(database_url)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENVEND_", "AWS_"))}
    environment |= {
        "AWS_ACCESS_KEY_ID": "AKIABROKERBROKER",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
        "TOKENVEND_ENVIRONMENT": "production",
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": f"https://127.0.0.1:{proxy.port}",
        "TOKENVEND_SMTP_URL": "smtp://127.0.0.1:9",
        "TOKENVEND_MAIL_FROM": "photos@example.org",
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": sts.url,
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(proxy.upstream)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )

    def ready() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{proxy.upstream}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_for(ready, process)
        yield proxy
    finally:
        process.terminate()
        process.wait(20)
        proxy.close()
        sts.close()


@pytest.fixture
def proxy(standing: Proxy) -> Iterator[Proxy]:
    upstream = standing.upstream
    yield standing
    standing.request = standing.answer = bytes
    standing.upstream = upstream


def smoke(proxy: Proxy, *arguments: str, url: str = "") -> tuple[int, str, list[str]]:
    """Exit status, all that it prints, and the names of the checks that failed."""
    done = subprocess.run(
        [sys.executable, DEPLOY / "smoke", url or f"https://127.0.0.1:{proxy.port}", *arguments],
        env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(proxy.certificate)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = [line.partition("  ")[2].partition(":")[0] for line in done.stdout.splitlines() if line[:6] == "FAILED"]
    return done.returncode, done.stdout + done.stderr, failed


@contextmanager
def plain(answer: bytes) -> Iterator[int]:
    """A port that says so to everybody, without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def say() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=say, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def replacing(old: bytes, new: bytes) -> Change:
    return lambda message: message.replace(old, new)


class TestSmoke:
    def test_of_a_good_deployment_is_all_well(self, proxy: Proxy) -> None:
        redirect = b"HTTP/1.1 301 x\r\nLocation: https://127.0.0.1/healthz\r\nContent-Length: 0\r\n\r\n"
        with plain(redirect) as port:
            status, text, failed = smoke(proxy, "--plain-port", str(port))
        assert (status, failed) == (0, []), text
        assert text.count("ok      ") == 12

    @pytest.mark.parametrize(
        ("failing", "request_change", "answer_change"),
        [
            ("headers", bytes, replacing(b"strict-transport-security", b"x-lost")),
            ("headers", bytes, replacing(b"nosniff", b"")),
            ("its own host alone", replacing(b"Host: smoke.invalid", b"Host: 127.0.0.1"), bytes),
            ("/docs is private", replacing(b"GET /docs ", b"GET /healthz "), bytes),
            ("/openapi.json is private", replacing(b"GET /openapi.json ", b"GET /healthz "), bytes),
            ("/metrics is private", replacing(b"GET /metrics ", b"GET /healthz "), bytes),
            ("public URL and keys", bytes, replacing(b'"issuer":"https', b'"issuer":"http')),
            ("no keys for strangers", bytes, replacing(b"www-authenticate", b"x-lost")),
            ("ready", replacing(b"GET /readyz ", b"GET /v1/me "), bytes),
        ],
    )
    def test_says_what_is_wrong(
        self, proxy: Proxy, failing: str, request_change: Change, answer_change: Change
    ) -> None:
        proxy.request, proxy.answer = request_change, answer_change
        status, text, failed = smoke(proxy)
        assert (status, failed) == (1, [failing]), text

    def test_asks_under_the_path_of_a_shared_host(self, proxy: Proxy) -> None:
        """The service does not know of it here, which is the one thing wrong."""

        def strip(request: bytes) -> bytes:
            method, target, rest = request.split(b" ", 2)
            return b" ".join([method, target.removeprefix(b"/eu") if target.startswith(b"/eu/") else b"/nowhere", rest])

        proxy.request = strip
        status, text, failed = smoke(proxy, url=f"https://127.0.0.1:{proxy.port}/eu/")
        assert (status, failed) == (1, ["public URL and keys"]), text

    def test_lets_a_load_balancer_keep_readiness_inside(self, proxy: Proxy) -> None:
        proxy.request = replacing(b"GET /readyz ", b"GET /nothing ")
        assert smoke(proxy)[0] == 0

    def test_wants_http_to_lead_to_tls(self, proxy: Proxy) -> None:
        for status, port in ((1, proxy.upstream), (0, 1)):
            assert smoke(proxy, "--plain-port", str(port))[0] == status

    def test_of_a_certificate_for_somebody_else_or_of_nobody_known(self, proxy: Proxy) -> None:
        status, text, failed = smoke(proxy, url=f"https://localhost:{proxy.port}")
        assert (status, failed[0], text.count("TLS: ")) == (1, "alive", 1)

    def test_of_a_service_that_is_not_there(self, proxy: Proxy) -> None:
        proxy.upstream = 1
        status, text, failed = smoke(proxy)
        assert (status, failed) == (1, ["alive", "10 more checks"]), text
        assert "Traceback" not in text
        assert "ok      " not in text

    def test_ends_with_what_is_run_inside(self, proxy: Proxy) -> None:
        for wanted in (0, 3):
            inside = [
                sys.executable,
                "-c",
                f"import sys; print('from inside', *sys.argv[1:]); sys.exit({wanted})",
                "--",
                "a",
            ]
            status, text, failed = smoke(proxy, "--", *inside)
            assert (status, failed) == (min(wanted, 1), [])
            assert "from inside -- a" in text

    def test_of_no_address_is_usage(self, proxy: Proxy) -> None:
        assert smoke(proxy, url="tokens.example.org")[0] == 2

"""An OpenID provider on loopback: discovery, keys that rotate, ID tokens, and every way to be broken.

Tokens are signed by joserfc, or by cryptography where what is signed is something that joserfc would not sign.
"""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from app.platform.clock import Clock

CLIENT_ID = "org.example.photos"
KEYS_PATH = "/keys"
DISCOVERY_PATH = "/.well-known/openid-configuration"
Answer = tuple[int, dict[str, str], bytes]
Key = RSAKey | ECKey
_RSA_KEYS: list[RSAKey] = []


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def rsa_key(number: int = 0) -> RSAKey:
    """One of the RSA keys that all tests share: making one takes a tenth of a second."""
    while len(_RSA_KEYS) <= number:
        _RSA_KEYS.append(RSAKey.generate_key(2048))
    return _RSA_KEYS[number]


@dataclass(frozen=True)
class SigningKey:
    kid: str
    key: Key
    algorithm: str
    members: dict[str, Any] = field(default_factory=dict)
    """Of its JWK, beside the key's own; None removes one."""

    def jwk(self) -> dict[str, Any]:
        public = dict(self.key.as_dict(private=False))
        public |= {"kid": self.kid, "use": "sig", "alg": self.algorithm} | self.members
        return {name: value for name, value in public.items() if value is not None}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class Issuer:
    """`paths` has every path that was asked for. `answers` replaces what a path answers with."""

    def __init__(self, clock: Clock, *, path: str = "") -> None:
        self.clock = clock
        self.paths: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.before_answer: Callable[[str], None] = lambda path: None
        self.silent = threading.Event()
        """Set: it takes connections and answers nothing until it is closed."""
        self.reached = threading.Event()
        """Set when somebody asks for something."""
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}{path}"
        self._path = path
        self.keys = [SigningKey("rsa-1", rsa_key(), "RS256")]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def claims(self, nonce: str, /, **changes: Any) -> dict[str, Any]:
        """What a token says unless a test says otherwise; None removes a claim."""
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "1234567890",
            "iat": now,
            "exp": now + 3600,
            "nonce": nonce,
            "email": "ada@example.org",
            "email_verified": True,
            "name": "Ada Lovelace",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, nonce: str, /, *, key: SigningKey | None = None, **changes: Any) -> str:
        """An ID token signed by joserfc with the newest key."""
        key = key or self.keys[-1]
        header = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}
        claims = json.dumps(self.claims(nonce, **changes))
        return str(jws.serialize_compact(header, claims, key.key, algorithms=[key.algorithm]))

    def forged(
        self,
        claims: bytes | Mapping[str, Any],
        *,
        header: bytes | None = None,
        key: RSAKey | None = None,
        **members: Any,
    ) -> str:
        """A right RS256 signature over whatever it is given. `members` change the header's; None removes one."""
        named = {"alg": "RS256", "kid": self.keys[-1].kid, "typ": "JWT"} | members
        head = header or json.dumps({name: value for name, value in named.items() if value is not None}).encode()
        body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{b64(head)}.{b64(body)}"
        private = (key or rsa_key()).private_key
        assert private is not None
        return f"{signed}.{b64(private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def hmacked(self, nonce: str, secret: bytes) -> str:
        """HS256 with a public value as the secret (RFC 8725 §2.1)."""
        head = json.dumps({"alg": "HS256", "kid": self.keys[-1].kid, "typ": "JWT"}).encode()
        signed = f"{b64(head)}.{b64(json.dumps(self.claims(nonce)).encode())}"
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    def public_bytes(self, encoding: serialization.Encoding) -> bytes:
        public = self.keys[-1].key.public_key
        return bytes(public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))

    def discovery(self, **changes: Any) -> dict[str, Any]:
        return {"issuer": self.url, "jwks_uri": self.url + KEYS_PATH} | changes

    def answer(self, path: str, value: object, *, status: int = 200, **headers: str) -> None:
        """From now on the path answers this: bytes as they are, anything else as JSON."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.answers[self._path + path] = (status, {n.replace("_", "-"): v for n, v in headers.items()}, body)

    def asked(self, path: str) -> int:
        """How often."""
        return self.paths.count(self._path + path)

    def _answer(self, path: str) -> Answer:
        self.paths.append(path)
        self.reached.set()
        self.before_answer(path)
        if path in self.answers:
            return self.answers[path]
        if path == self._path + DISCOVERY_PATH:
            return 200, {}, json.dumps(self.discovery()).encode()
        if path == self._path + KEYS_PATH:
            return 200, {}, json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()
        return 404, {}, b"{}"

    def posted(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, object]:
        """Status and JSON of the answer to a POST."""
        return 404, {}

    def _handler(issuer: "Issuer") -> Any:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                status, headers, body = issuer._answer(self.path)
                if issuer.silent.is_set():
                    issuer._closing.wait(10)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = issuer.posted(self.path.removeprefix(issuer._path), dict(self.headers), body)
                data = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler


@contextmanager
def running_issuer(clock: Clock, *, path: str = "") -> Iterator[Issuer]:
    issuer = Issuer(clock, path=path)
    try:
        yield issuer
    finally:
        issuer.close()

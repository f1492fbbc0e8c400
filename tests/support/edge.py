"""An edge of a CDN, on loopback: it verifies signatures as CloudFront documents it, and forwards what they allow.

It knows the public keys of its key group, and reads the bucket as its owner. So nothing but a signature stands between
a client and the objects of others.
"""

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.policy.cloudfront import OWN_PARAMETERS, allows, decoded, leads_out, parameters, path_of


class Refused(Exception):
    pass


@dataclass
class Edge:
    s3: Any
    """As the owner of the bucket."""
    bucket: str
    now: Callable[[], datetime]
    url: str = ""
    key_group: dict[str, str] = field(default_factory=dict)
    """Public keys in PEM, by their id."""
    is_open: bool = False
    """Whether somebody forgot to give it the key group."""
    served: list[str] = field(default_factory=list)
    """The keys of the objects that were handed out."""

    def get(self, target: str, cookies: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """One request, its target exactly as given."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        try:
            connection.request("GET", target.removeprefix(self.url), headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answer(self, target: str, cookies: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            key = target.partition("?")[0][1:] if self.is_open else self.admit(self.url + target, cookies)
        except Refused as refusal:
            return 403, str(refusal).encode()
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"]), b""
        self.served.append(key)
        return 200, body

    def admit(self, url: str, cookies: Mapping[str, str]) -> str:
        """The key of the object. Raises `Refused`."""
        try:
            asked, signed = parameters(url)
            # A URL with any of these is a signed one, and cookies are not looked at.
            signed = signed or {name: cookies[f"CloudFront-{name}"] for name in OWN_PARAMETERS}
            policy, signature = decoded(signed["Policy"]), decoded(signed["Signature"])
            id_ = signed["Key-Pair-Id"]
        except (KeyError, ValueError) as error:
            raise Refused("MissingKey") from error
        if (pem := self.key_group.get(id_)) is None:
            raise Refused("InvalidKey")
        key = serialization.load_pem_public_key(pem.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        try:
            key.verify(signature, policy, padding.PKCS1v15(), hashes.SHA1())
        except InvalidSignature:
            raise Refused("the signature is another text's") from None
        if not allows(policy, asked, self.now()):
            raise Refused("the policy does not allow it")
        if leads_out(path_of(asked)):
            raise Refused("the function of the distribution refuses it")
        return unquote(path_of(asked)).removeprefix("/")


class _Handler(BaseHTTPRequestHandler):
    edge: ClassVar[Edge]

    def do_GET(self) -> None:
        cookie: SimpleCookie = SimpleCookie(self.headers.get("Cookie", ""))
        status, body = self.edge.answer(self.path, {name: morsel.value for name, morsel in cookie.items()})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running_edge(s3: Any, bucket: str, now: Callable[[], datetime]) -> Iterator[Edge]:
    edge = Edge(s3, bucket, now)
    handler = type("Handler", (_Handler,), {"edge": edge})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    edge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield edge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

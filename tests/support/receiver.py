"""An operator's own server that is told of events: a real one, which notes each message and answers as a test says."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Message:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed_by(self, secret: str) -> bool:
        """By the words of Standard Webhooks 1.0, and by no code of the service."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, "sha256").digest()).decode()
        return expected in self.headers["webhook-signature"].split(" ")


class Receiver:
    """`secrets`: it answers 400 to what none of them has signed. Without them it takes everything."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self.messages: list[Message] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.body = b""
        self.delay = 0.0
        """Seconds that it takes to answer."""
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):  # who sent it died
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = Message(self.path, headers, body)
                with receiver._lock:
                    receiver.messages.append(message)
                    receiver._at_once += 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver._at_once)
                time.sleep(receiver.delay)
                with receiver._lock:
                    receiver._at_once -= 1
                known = not secrets or any(map(message.is_signed_by, secrets))
                self.send_response(receiver.status if known else 400)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                if receiver.status != 204 or not known:
                    self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # whoever has asked reads no further

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/told"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def settings(self) -> dict[str, Any]:
        return {"webhook_url": self.url, "webhook_secret": (SECRET,)}

    @property
    def events(self) -> list[Any]:
        return [message.event for message in self.messages]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiving(secrets: Sequence[str] = ()) -> Iterator[Receiver]:
    receiver = Receiver(secrets)
    try:
        yield receiver
    finally:
        receiver.close()

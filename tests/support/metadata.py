"""Where AWS's machines get credentials: the instance metadata service and the container endpoint, on this machine."""

import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, str]
ROLE = "photo-service"


class _Endpoint:
    """`issued` are the access keys given out, oldest first; `next_answers` come before its own."""

    def __init__(self, life: timedelta) -> None:
        self.life = life
        self.rotates = True
        self.issued: list[str] = []
        self.next_answers: deque[Answer] = deque()
        self.before_answer: Callable[[], None] = lambda: None
        self._document: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, method: str, path: str, headers: Any) -> Answer:
        raise NotImplementedError

    def _credentials(self) -> Answer:
        """A document as AWS has it. Where it does not rotate, the same one as before."""
        if not self._document or self.rotates:
            serial = len(self.issued) + 1
            expiration = datetime.now(UTC) + self.life
            self._document = {
                "Code": "Success",
                "LastUpdated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Type": "AWS-HMAC",
                "AccessKeyId": f"ASIAMETADATA{serial:04d}",
                "SecretAccessKey": f"metadata-secret-{serial}",
                "Token": f"metadata-token-{serial}",
                "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        self.issued.append(self._document["AccessKeyId"])
        return 200, json.dumps(self._document)

    def _handler(endpoint: "_Endpoint") -> Any:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve()

            def do_PUT(self) -> None:
                self._serve()

            def _serve(self) -> None:
                endpoint.before_answer()
                status, text = endpoint._answer(self.command, self.path, self.headers)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class InstanceMetadata(_Endpoint):
    """Version 2: a GET needs the token of a PUT. With `refuses_tokens` (a status) version 1, which needs none."""

    def __init__(self, life: timedelta = timedelta(hours=6)) -> None:
        super().__init__(life)
        self.refuses_tokens: int | None = None
        self.tokens: set[str] = set()
        self.open_gets = 0
        """How many came without a token."""

    def _answer(self, method: str, path: str, headers: Any) -> Answer:
        if method == "PUT":
            return self._token(path, headers)
        if self.refuses_tokens is None and headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            self.open_gets += 1
            return 401, "Unauthorized"
        if self.refuses_tokens is not None:
            self.open_gets += 1
        if self.next_answers:
            return self.next_answers.popleft()
        if path == "/latest/meta-data/iam/security-credentials/":
            return 200, ROLE
        if path == f"/latest/meta-data/iam/security-credentials/{ROLE}":
            return self._credentials()
        return 404, "Not Found"

    def _token(self, path: str, headers: Any) -> Answer:
        if self.refuses_tokens is not None:
            return self.refuses_tokens, "no tokens here"
        seconds = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if path != "/latest/api/token" or not seconds.isdecimal() or not 1 <= int(seconds) <= 21_600:
            return 400, "Bad Request"
        token = uuid.uuid4().hex
        self.tokens.add(token)
        return 200, token


class ContainerEndpoint(_Endpoint):
    """That of ECS (by path alone) and of EKS Pod Identity (with a token)."""

    def __init__(self, token: str | None = None, life: timedelta = timedelta(hours=6)) -> None:
        super().__init__(life)
        self.token = token
        self.refused = 0

    def _answer(self, method: str, path: str, headers: Any) -> Answer:
        if method != "GET" or path != "/v1/credentials":
            return 404, "Not Found"
        if headers.get("Authorization") != self.token:
            self.refused += 1
            return 401, "Unauthorized"
        if self.next_answers:
            return self.next_answers.popleft()
        return self._credentials()

"""A small HTTP server that signs in, rotates and vends as the service does, and can be told to fail."""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Mapping[str, str], Mapping[str, Any] | bytes]
CREDENTIAL = {
    "credential_id": "c-1",
    "access_key_id": "ASIACANNED",
    "secret_access_key": "canned/secret+key",
    "session_token": "canned//token==",
    "expiration": "2030-01-01T00:00:00Z",
    "expires_in": 3600,
    "server_time": "2029-12-31T23:00:00Z",
    "access": "read_write",
    "bucket": "photos",
    "prefix": "users/u/",
    "shared_prefixes": [],
    "write_prefixes": [],
    "region": "us-east-1",
    "endpoint_url": None,
    "force_path_style": False,
}

CONTAINER = {
    "AccessKeyId": CREDENTIAL["access_key_id"],
    "SecretAccessKey": CREDENTIAL["secret_access_key"],
    "Token": CREDENTIAL["session_token"],
    "Expiration": CREDENTIAL["expiration"],
}


class CannedService:
    """A refresh token works once; its repetition gets the same successor. `calls` has path and body of each."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.authorizations: list[str | None] = []
        self.generation = 0
        self.expires_in = 900
        self.credential = dict(CREDENTIAL)
        self.codes: dict[str, str] = {}
        """By method, of an account with a second factor; each works once."""
        self.before_answer: Callable[[str], None] = lambda path: None
        self._failures: defaultdict[str, deque[Answer | None]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, path: str) -> int:
        return sum(called == path for called, _ in self.calls)

    def fail(self, path: str, status: int, *, times: int = 1, body: Any = None, **headers: str) -> None:
        content = body if body is not None else {"code": "canned", "detail": "Canned refusal."}
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self._failures[path].extend([(status, fields, content)] * times)

    def lose(self, path: str, *, times: int = 1) -> None:
        """The request is carried out, and its answer never arrives."""
        self._failures[path].extend([None] * times)

    def _answer(self, path: str, body: dict[str, Any], authorization: str | None) -> Answer | None:
        with self._lock:
            self.calls.append((path, body))
            self.authorizations.append(authorization)
            lost = False
            if self._failures[path]:
                failure = self._failures[path].popleft()
                if failure is not None:
                    return failure
                lost = True
            answer = self._carry_out(path, body, authorization)
        self.before_answer(path)
        return None if lost else answer

    def _carry_out(self, path: str, body: dict[str, Any], authorization: str | None) -> Answer:
        if path in ("auth/login", "auth/mfa"):
            return self._sign_in(path, body)
        if path == "auth/refresh":
            if body["refresh_token"] == f"refresh-{self.generation}":
                self.generation += 1
            elif body["refresh_token"] != f"refresh-{self.generation - 1}":
                return 401, {}, {"code": "refresh_token_reused", "detail": "Used."}
            return 200, {}, self._tokens()
        if path == "auth/logout":
            return 204, {}, b""
        if authorization != f"Bearer access-{self.generation}":
            return 401, {}, {"code": "invalid_token", "detail": "Expired."}
        return 200, {}, CONTAINER if path.startswith("credentials/container?") else self.credential

    def _sign_in(self, path: str, body: dict[str, Any]) -> Answer:
        if path == "auth/login" and self.codes:
            challenge = {"mfa_token": "mfa-1", "methods": list(self.codes), "expires_in": 300}
            return 200, {}, {"status": "mfa_required", "tokens": None, "mfa": challenge}
        if path == "auth/mfa" and (
            body["mfa_token"] != "mfa-1" or self.codes.pop(body["method"], None) != body["code"]
        ):
            return 401, {}, {"code": "invalid_mfa_code", "detail": "The code is wrong."}
        self.generation += 1
        return 200, {}, {"status": "complete", "tokens": self._tokens(), "mfa": None}

    def _tokens(self) -> dict[str, Any]:
        return {
            "token_type": "Bearer",
            "access_token": f"access-{self.generation}",
            "expires_in": self.expires_in,
            "refresh_token": f"refresh-{self.generation}",
            "refresh_expires_in": 86400,
            "session_id": "s",
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        canned = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._do(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                self._do({})

            def _do(self, body: dict[str, Any]) -> None:
                answer = canned._answer(self.path.removeprefix("/v1/"), body, self.headers.get("Authorization"))
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, content = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler

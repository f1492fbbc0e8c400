"""A small HTTP server that keeps a role's inline policies as IAM does. It enforces nothing: `tests/credentials/iam.py`
and Ceph show what a policy denies.
"""

import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


class CannedIam:
    """`policies` has what is there by role and name; `forms` every call, oldest first."""

    def __init__(self) -> None:
        self.policies: dict[tuple[str, str], str] = {}
        self.forms: list[dict[str, str]] = []
        self.before_answer: Callable[[dict[str, str]], None] = lambda form: None
        self._failures: deque[tuple[int, str]] = deque()
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

    @property
    def writes(self) -> list[dict[str, str]]:
        return [form for form in self.forms if form["Action"] in ("PutRolePolicy", "DeleteRolePolicy")]

    def fail(self, code: str, status: int, *, times: int = 1) -> None:
        self._failures.extend([(status, code)] * times)

    def _answer(self, form: dict[str, str]) -> tuple[int, str]:
        self.before_answer(form)
        with self._lock:
            self.forms.append(form)
            if self._failures:
                return self._refusal(*self._failures.popleft())
            key = (form["RoleName"], form["PolicyName"])
            match form["Action"]:
                case "PutRolePolicy":
                    self.policies[key] = form["PolicyDocument"]
                case "DeleteRolePolicy" if key in self.policies:
                    del self.policies[key]
                case "GetRolePolicy" if key in self.policies:
                    pass
                case _:
                    return self._refusal(404, "NoSuchEntity")
            action, document = form["Action"], quote(self.policies.get(key, ""))
            told = f"<RoleName>{key[0]}</RoleName><PolicyName>{key[1]}</PolicyName>"
            result = f"<{action}Result>{told}<PolicyDocument>{document}</PolicyDocument></{action}Result>"
            metadata = "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        return 200, f'<{action}Response xmlns="{NAMESPACE}">{result}{metadata}</{action}Response>'

    @staticmethod
    def _refusal(status: int, code: str) -> tuple[int, str]:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
        return status, f'<ErrorResponse xmlns="{NAMESPACE}">{error}<RequestId>r</RequestId></ErrorResponse>'

    def _handler(canned: "CannedIam") -> Any:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = canned._answer(dict(parse_qsl(body.decode(), keep_blank_values=True)))
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler

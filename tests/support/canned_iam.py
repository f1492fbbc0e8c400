"""A small HTTP server that keeps a role's inline policies and versions of managed ones as IAM does, within its quotas.

It enforces no policy: `tests/policy/iam.py` and Ceph show what one denies.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


WRITES = {"PutRolePolicy", "DeleteRolePolicy", "CreatePolicyVersion"}
INLINE_SIZE, MANAGED_SIZE, VERSIONS = 10_240, 6144, 5


@dataclass
class Managed:
    """A managed policy: its versions by id, oldest first, the one in effect, and whether the role has it."""

    versions: dict[str, str] = field(default_factory=lambda: {"v1": "{}"})
    default: str = "v1"
    attached: bool = True
    made: int = 1

    @property
    def document(self) -> str:
        return self.versions[self.default]


class Refused(Exception):
    pass


class CannedIam:
    """`policies` has the inline ones by role and name, `managed` the others; `forms` every call, oldest first."""

    def __init__(self) -> None:
        self.policies: dict[tuple[str, str], str] = {}
        self.managed: dict[str, Managed] = {}
        self.forbidden: set[str] = set()
        """Actions that the caller may not."""
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
        return [form for form in self.forms if form["Action"] in WRITES]

    def fail(self, code: str, status: int, *, times: int = 1) -> None:
        self._failures.extend([(status, code)] * times)

    def _answer(self, form: dict[str, str]) -> tuple[int, str]:
        self.before_answer(form)
        with self._lock:
            self.forms.append(form)
            if self._failures:
                return self._refusal(*self._failures.popleft())
            if form["Action"] in self.forbidden:
                return self._refusal(403, "AccessDenied")
            try:
                result = self._managed(form) if "PolicyArn" in form else self._inline(form)
            except Refused as refused:
                return self._refusal(*refused.args)
            action = form["Action"]
            metadata = "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
            answer = f"<{action}Result>{result}</{action}Result>{metadata}"
        return 200, f'<{action}Response xmlns="{NAMESPACE}">{answer}</{action}Response>'

    def _inline(self, form: dict[str, str]) -> str:
        if form["Action"] == "ListAttachedRolePolicies":
            arns = [arn for arn, policy in self.managed.items() if policy.attached]
            members = "".join(f"<member><PolicyArn>{arn}</PolicyArn></member>" for arn in arns)
            return f"<AttachedPolicies>{members}</AttachedPolicies><IsTruncated>false</IsTruncated>"
        key = (form["RoleName"], form["PolicyName"])
        match form["Action"]:
            case "PutRolePolicy":
                others = (text for known, text in self.policies.items() if known[0] == key[0] and known != key)
                if sum(map(_size, (*others, form["PolicyDocument"]))) > INLINE_SIZE:
                    raise Refused(409, "LimitExceeded")
                self.policies[key] = form["PolicyDocument"]
            case "DeleteRolePolicy" if key in self.policies:
                del self.policies[key]
            case "GetRolePolicy" if key in self.policies:
                pass
            case _:
                raise Refused(404, "NoSuchEntity")
        document = quote(self.policies.get(key, ""))
        return (
            f"<RoleName>{key[0]}</RoleName><PolicyName>{key[1]}</PolicyName><PolicyDocument>{document}</PolicyDocument>"
        )

    def _managed(self, form: dict[str, str]) -> str:
        policy = self.managed.get(form["PolicyArn"])
        if policy is None:
            raise Refused(404, "NoSuchEntity")
        match form["Action"]:
            case "ListPolicyVersions":
                members = "".join(f"<member>{_version(policy, one)}</member>" for one in policy.versions)
                return f"<Versions>{members}</Versions><IsTruncated>false</IsTruncated>"
            case "DeletePolicyVersion" if form["VersionId"] == policy.default:
                raise Refused(409, "DeleteConflict")
            case "DeletePolicyVersion" if form["VersionId"] in policy.versions:
                del policy.versions[form["VersionId"]]
                return ""
            case "CreatePolicyVersion":
                if len(policy.versions) >= VERSIONS or _size(form["PolicyDocument"]) > MANAGED_SIZE:
                    raise Refused(409, "LimitExceeded")
                policy.made += 1
                version = f"v{policy.made}"
                policy.versions[version] = form["PolicyDocument"]
                policy.default = version if form.get("SetAsDefault") == "true" else policy.default
                return f"<PolicyVersion>{_version(policy, version)}</PolicyVersion>"
        raise Refused(404, "NoSuchEntity")

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


def _size(document: str) -> int:
    return len("".join(document.split()))


def _version(policy: Managed, version: str) -> str:
    default = str(version == policy.default).lower()
    return f"<VersionId>{version}</VersionId><IsDefaultVersion>{default}</IsDefaultVersion>"

"""What an attacker, or an auditor, gets to see: answers, tables, a real server's wire."""

import http.client
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import Response
from sqlalchemy import func, select

from app.platform.problems import Problem
from app.records.models import Model
from tests.support.canned_sts import CannedSts
from tests.support.service import Service

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Wire:
    """An answer as it came over a real connection."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class LiveServer:
    """A server process of its own on 127.0.0.1."""

    port: int
    directory: Path
    sts: CannedSts
    stdout: Path = field(init=False)
    stderr: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stdout", self.directory / "stdout.log")
        object.__setattr__(self, "stderr", self.directory / "stderr.log")

    def ask(self, method: str, target: str, headers: Headers | None = None, body: bytes = b"") -> Wire:
        """One request whose target goes out as it stands: no client tidies `..` or `//` away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            given = {name.lower() for name, _ in headers or []}
            connection.putrequest(method, target, skip_host="host" in given, skip_accept_encoding=True)
            for name, value in headers or []:
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Wire(answer.status, names, answer.read())
        finally:
            connection.close()


def without_request_id(answer: Response) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer, less the request id: equal for two answers nobody can tell apart."""
    request_id = answer.headers["X-Request-ID"]
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, headers, answer.text.replace(request_id, "-")


def assert_problem(answer: Response, status: int, code: str) -> None:
    """A whole problem document (RFC 9457) of this status and catalogued code."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    expected = {"type", "title", "status", "detail", "code", "request_id"} | ({"errors"} if status == 422 else set())
    assert document.keys() == expected
    assert document["status"] == status
    assert document["type"].endswith(f":{code}")
    assert document["title"] == Problem.catalogue[code].title
    assert document["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["cache-control"] == "no-store"


def row_counts(service: Service) -> dict[str, int]:
    """How many rows each table has, audit events too."""
    with service.runtime.platform.database.engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Model.metadata.sorted_tables
        }


def stored_values(service: Service) -> list[tuple[str, Any]]:
    """Every value in the database, with `table.column`."""
    with service.runtime.platform.database.engine.connect() as connection:
        return [
            (f"{table.name}.{name}", value)
            for table in Model.metadata.sorted_tables
            for row in connection.execute(select(table)).mappings()
            for name, value in row.items()
        ]

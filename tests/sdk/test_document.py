"""The document that clients are generated from: linted, and compared with that of the last release."""

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis.strategies import from_regex

from tests.sdk.conftest import NODE_TOOLS, ROOT, TOOLS, run

DEPLOY = ROOT / "deploy" / "sdk"
DOCUMENT, RELEASED = DEPLOY / "openapi.json", DEPLOY / "released.json"
Json = dict[str, Any]


class TestLint:
    def test_of_redocly_finds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDOCLY_TELEMETRY", "off")
        monkeypatch.setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        run(NODE_TOOLS / "redocly", "lint", "--extends=recommended-strict", "--max-problems=20", DOCUMENT)

    def test_of_spectral_finds_nothing(self) -> None:
        run(NODE_TOOLS / "spectral", "lint", "--fail-severity=warn", "--ruleset", DEPLOY / "spectral.yaml", DOCUMENT)


def names(document: Json) -> set[str]:
    """What generated methods and types are called by."""
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    return {operation["operationId"] for operation in operations} | document["components"]["schemas"].keys()


def breaking(old: Path, new: Path) -> set[str]:
    """What an app that was built with the old document may trip over: operations, and names of methods and types."""
    command = [str(TOOLS / "specshift"), "diff", str(old), str(new), "--fail-on", "warning", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    changes = json.loads(done.stdout)["changes"]
    assert done.returncode == any(change["severity"] != "info" for change in changes), done.stderr
    places = {
        change["location"].partition(" > ")[0]
        for change in changes
        if change["severity"] != "info" and not takes_more(change)
    }
    before, after = (names(json.loads(file.read_text(encoding="utf-8"))) for file in (old, new))
    return places | (before - after)


def takes_more(change: Json) -> bool:
    """Whether a request's pattern takes what it took, and more. To specshift each new pattern breaks."""
    if not (change["message"].startswith("Validation pattern changed") and "> request body >" in change["location"]):
        return False
    new = re.compile(change["new_value"])

    @settings(phases=[Phase.generate])
    @given(from_regex(change["old_value"], fullmatch=True))
    def is_taken(value: str) -> None:
        assert new.search(value)

    try:
        is_taken()
    except AssertionError:
        return False
    return True


class TestBreakingChanges:
    def test_are_told_in_the_changelog(self) -> None:
        told = "".join(text.read_text(encoding="utf-8") for text in (ROOT / "changelog.d").glob("+*.breaking.md"))
        untold = {place for place in breaking(RELEASED, DOCUMENT) if f"`{place}`" not in told}
        assert untold == set(), "apps in the field break: undo it, or name each in changelog.d/+<subject>.breaking.md"

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            (lambda paths, _: paths.pop("/v1/me/export"), "/v1/me/export"),
            (lambda paths, _: paths["/v1/me"].pop("patch"), "PATCH /v1/me"),
            (lambda paths, _: paths["/v1/me"]["get"].update(operationId="get_me"), "get_profile"),
            (lambda _, schemas: schemas.update(Me=schemas.pop("Profile")), "Profile"),
            (lambda _, schemas: schemas["LoginRequest"]["required"].append("device_name"), "POST /v1/auth/login"),
            (lambda _, schemas: schemas["Profile"]["properties"].pop("prefix"), "GET /v1/me"),
            (lambda _, schemas: schemas["Access"]["enum"].remove("read"), "POST /v1/credentials"),
            (
                lambda _, schemas: schemas["UploadTicketRequest"]["properties"]["content_type"].update(
                    pattern="^image/[a-z]+$"
                ),
                "POST /v1/uploads",
            ),
        ],
    )
    def test_are_seen(self, change: Callable[[Json, Json], object], place: str, tmp_path: Path) -> None:
        document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        changed = copy.deepcopy(document)
        change(changed["paths"], changed["components"]["schemas"])
        (tmp_path / "changed.json").write_text(json.dumps(changed), encoding="utf-8")
        assert place in breaking(DOCUMENT, tmp_path / "changed.json")

    def test_are_not_what_is_added(self, tmp_path: Path) -> None:
        document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        document["paths"]["/v1/new"] = {"get": document["paths"]["/v1/me"]["get"] | {"operationId": "get_new"}}
        document["components"]["schemas"]["Profile"]["properties"]["pictures"] = {"type": "integer"}
        document["components"]["schemas"]["ProblemCode"]["enum"].append("new")
        document["components"]["schemas"]["LoginRequest"]["properties"]["new"] = {"type": "string"}
        (tmp_path / "changed.json").write_text(json.dumps(document), encoding="utf-8")
        assert breaking(DOCUMENT, tmp_path / "changed.json") == set()

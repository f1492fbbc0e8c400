"""Each generated client, with the helpers beside it: read by its own language, and an app made of it that travels."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.conftest import BUILD, HERE, NODE_TOOLS, ROOT, SDK, TOOLS, Kotlin, run

HELPERS = sorted(
    file for file in (ROOT / "deploy" / "sdk").glob("*/*") if file.suffix in {".kt", ".swift", ".dart", ".ts", ".py"}
)


def test_every_language_has_helpers() -> None:
    assert {file.parent.name for file in HELPERS} == {"kotlin", "swift", "dart", "typescript", "python"}


@pytest.mark.parametrize("helper", HELPERS, ids=lambda file: file.name)
def test_a_helper_takes_fewer_than_150_lines(helper: Path) -> None:
    assert 5 < len(helper.read_text(encoding="utf-8").splitlines()) < 150


class TestPython:
    def test_is_strictly_typed(self) -> None:
        environment = {"PATH": os.environ["PATH"], "MYPYPATH": str(SDK / "python")}
        mypy = (TOOLS / "mypy", "--strict", "--cache-dir", BUILD / ".mypy_cache")
        run(
            *mypy,
            SDK / "python" / "tokenvend_client",
            HERE / "journey.py",
            HERE / "clock.py",
            HERE / "revocation.py",
            environment=environment,
        )

    def test_travels(self, travels: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        travels(TOOLS / "python", HERE / "journey.py")


class TestTypeScript:
    def test_is_strictly_typed_and_travels(self, travels: Callable[..., None]) -> None:
        shutil.copy(HERE / "journey.ts", SDK / "typescript" / "src")
        run(NODE_TOOLS / "tsc", "--project", SDK / "typescript")
        travels("node", SDK / "typescript" / "dist" / "journey.js")


class TestKotlin:
    def test_compiles_and_travels(self, travels: Callable[..., None], kotlin: Kotlin) -> None:
        travels(*kotlin, "JourneyKt")


def read_by_grammar(language: str, folder: Path) -> dict[str, list[str]]:
    """The lines that the grammar does not know, by file."""
    lines = run(TOOLS / "python", HERE / "well_formed.py", language, folder).splitlines()
    return {name: faults for name, *faults in map(str.split, lines)}


class TestSwift:
    def test_is_well_formed(self) -> None:
        """But for a file of the generator's own that Swift compiles, and the grammar does not know the whole of."""
        files = read_by_grammar("swift", SDK / "swift" / "Sources")
        assert files.pop("URLSessionImplementations.swift")
        assert {
            "AuthAPI.swift",
            "Authorizer.swift",
            "ProblemCode.swift",
            "TokenStore.swift",
            "Vendor.swift",
        } <= files.keys()
        assert {name: faults for name, faults in files.items() if faults} == {}


class TestDart:
    def test_is_well_formed(self) -> None:
        files = read_by_grammar("dart", SDK / "dart" / "lib")
        assert {"auth_api.dart", "problem_code.dart", "token_store.dart", "vendor.dart"} <= files.keys()
        assert {name: faults for name, faults in files.items() if faults} == {}

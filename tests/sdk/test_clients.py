"""Each generated client, with the helpers beside it: read by its own language, and an app made of it that travels."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.conftest import BUILD, CODE, HERE, NODE_TOOLS, SDK, TOOLS, run

KOTLIN = BUILD / "node_modules" / "kotlin-compiler" / "lib"
MAVEN = Path.home() / ".m2" / "repository"


class TestPython:
    def test_is_strictly_typed(self) -> None:
        environment = {"PATH": os.environ["PATH"], "MYPYPATH": str(SDK / "python")}
        mypy = (TOOLS / "mypy", "--strict", "--cache-dir", BUILD / ".mypy_cache")
        run(*mypy, SDK / "python" / "tokenvend_client", HERE / "journey.py", environment=environment)

    def test_travels(self, travels: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(SDK / "python"))
        travels(TOOLS / "python", HERE / "journey.py")


class TestTypeScript:
    def test_is_strictly_typed_and_travels(self, travels: Callable[..., None]) -> None:
        shutil.copy(HERE / "journey.ts", SDK / "typescript" / "src")
        run(NODE_TOOLS / "tsc", "--project", SDK / "typescript")
        travels("node", SDK / "typescript" / "dist" / "journey.js")


class TestKotlin:
    def test_compiles_and_travels(self, travels: Callable[..., None], tmp_path: Path) -> None:
        """With the guide's code, against interfaces of the SDK, which is in no registry that the tests reach."""
        guide = tmp_path / "guide.kt"
        guide.write_text(CODE["kotlin"], encoding="utf-8")
        jars = [*kotlin_jars(), *http_jars()]
        classpath = os.pathsep.join(map(str, jars))
        sources = SDK / "kotlin" / "src" / "main" / "kotlin"
        compiler = ("java", "-cp", KOTLIN / "kotlin-compiler.jar", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler")
        options = ("-nowarn", "-no-stdlib", "-no-reflect", "-jvm-target", "17")
        plugin = f"-Xplugin={KOTLIN / 'kotlinx-serialization-compiler-plugin.jar'}"
        run(*compiler, *options, plugin, "-cp", classpath, "-d", tmp_path, sources, HERE / "kotlin", guide)
        travels("java", "-cp", os.pathsep.join([classpath, str(tmp_path)]), "JourneyKt")


def kotlin_jars() -> list[Path]:
    serialization = sorted((TOOLS.parent / "lib").glob("**/kotlinx-serialization-*-jvm-*.jar"))
    assert len(serialization) == 2
    return [KOTLIN / "kotlin-stdlib.jar", KOTLIN / "kotlinx-coroutines-core-jvm.jar", *serialization]


def http_jars() -> list[Path]:
    """OkHttp is in no registry that the tests reach, but Maven keeps it where something else has wanted it."""
    names = ("okhttp3/okhttp/*/okhttp", "okio/okio-jvm/*/okio-jvm")
    found = [sorted(MAVEN.glob(f"com/squareup/{name}-*.jar")) for name in names]
    if not all(found):
        pytest.skip("no OkHttp in Maven's repository: mvn dependency:get -Dartifact=com.squareup.okhttp3:okhttp:4.12.0")
    return [jars[-1] for jars in found]


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

"""Each generated client, with the helpers beside it: read by its own language, and an app made of it that travels."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.conftest import BUILD, HERE, KOTLIN, NODE_TOOLS, ROOT, SDK, TOOLS, Kotlin, run

HELPERS = sorted(
    file for file in (ROOT / "deploy" / "sdk").glob("*/*") if file.suffix in {".kt", ".swift", ".dart", ".ts", ".py"}
)
POM = (HERE / "kotlin" / "pom.xml").read_text(encoding="utf-8")
OF_AWS = ("aws-", "http-", "identity-", "logging-", "runtime-", "s3-", "serde-", "smithy-", "telemetry-")


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
    def test_travels(self, travels: Callable[..., None], kotlin: Kotlin) -> None:
        travels(*kotlin, "JourneyKt")

    def test_is_tried_with_the_versions_that_it_brings(self) -> None:
        gradle = (SDK / "kotlin" / "build.gradle").read_text(encoding="utf-8")
        begin, end = re.findall(r'api "aws.sdk.kotlin:s3:\[([\d.]+),([\d.]+)\)"', gradle)[0]
        tried = dict(re.findall(r"<artifactId>([\w-]+)</artifactId>\s+<version>([^<]+)<", POM))
        versions = dict(re.findall(r"<([a-z]+)\.version>([^<]+)<", POM))
        assert tried["s3-jvm"] == begin
        assert end == f"{begin.split('.')[0]}.{int(begin.split('.')[1]) + 1}"
        assert f"okhttp:{tried['okhttp-jvm']}" in gradle
        assert f"ext.kotlin_version = '{versions['kotlin']}'" in gradle
        assert f"kotlinx-serialization-json:{versions['kotlinx']}" in gradle
        assert f"kotlinx-coroutines-core:{versions['kotlinx']}" in gradle


class TestAndroid:
    """What the client in Kotlin, and AWS's SDK under it, ask of Android 8: no `java.net.http`, say."""

    def test_has_all_of_java_that_they_take(self, kotlin: Kotlin) -> None:
        """By the list of Android's own API of level 26 and what its tools add (desugaring)."""
        (signature,) = (KOTLIN / "tools").glob("gummy-bears-api-26-*.signature")
        checker = (
            *kotlin[:-1],
            os.pathsep.join([kotlin[-1], *map(str, (KOTLIN / "tools").glob("a*.jar"))]),
            "AndroidKt",
        )
        sdk = sorted(jar for jar in (KOTLIN / "app").glob("*-jvm-*.jar") if jar.name.startswith(OF_AWS))
        assert len(sdk) > 20
        assert run(*checker, signature, KOTLIN / "client", *sdk) == ""
        assert "java.net.http" in run(*checker, signature, KOTLIN / "apps")

    def test_is_told_what_may_be_missing(self) -> None:
        """Where R8 looks for the rules of a module."""
        rules = SDK / "kotlin" / "src" / "main" / "resources" / "META-INF" / "proguard" / "tokenvend.pro"
        named = set(re.findall(r"^-dontwarn ([\w.]+)\.\*\*$", rules.read_text(encoding="utf-8"), re.MULTILINE))
        assert named == {"org.bouncycastle.jsse", "org.conscrypt", "org.openjsse"}


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

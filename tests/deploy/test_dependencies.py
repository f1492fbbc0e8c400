"""What the service is made of: which weaknesses are known, what mends them, and by which licences it may be used."""

import json
import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from deploy import advisories, licences, sbom
from tests.deploy.reading import DEPLOY, ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = {name: Version(version) for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK, re.MULTILINE)}
AFFECTED = ("ecdsa", "jose.backends.ecdsa_backend", "jose.backends.rsa_backend", "jose.jwe", "jose.jwt", "rsa")


def floors() -> dict[str, Version]:
    """The lowest version of each package that may be installed with the service, as the wheel says."""
    asked = (Requirement(line) for line in metadata.requires("tokenvend") or ())
    return {
        one.name: max(Version(part.version) for part in one.specifier if part.operator == ">=")
        for one in asked
        if one.specifier and not (one.marker and "dev" in str(one.marker))
    }


class TestAdvisories:
    """OP6"""

    @pytest.mark.all
    def test_affected_modules_are_never_imported(self) -> None:
        """In a process of its own: the service as it is built, and its commands."""
        source = "\n".join(
            [
                "import json, sys",
                "import app.__main__, app.cli.commands, app.cli.development, app.cli.doctor, app.http.server",
                "from app.main import create_app",
                "from app.platform.settings import Settings",
                "create_app(Settings(_env_file=None))",
                "from jose.backends import ECKey, RSAKey",
                "print(json.dumps([sorted(sys.modules), ECKey.__module__, RSAKey.__module__]))",
            ]
        )
        printed = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, cwd=ROOT)
        imported, *backends = json.loads(printed.stdout.splitlines()[-1])
        assert "jose.jws" in imported
        assert not set(AFFECTED) & set(imported)
        assert set(backends) == {"jose.backends.cryptography_backend"}

    def test_only_the_wrapper_verifies_with_one_algorithm(self) -> None:
        calls = {
            (file.name, call)
            for file in (ROOT / "app").rglob("*.py")
            for call in re.findall(r"\bjws\.verify\(.*\)|\bjwt\.decode\(.*\)", file.read_text(encoding="utf-8"))
        }
        assert calls == {("jws.py", "jws.verify(token, keys[kid], [ALGORITHM])")}

    def test_each_waiver_names_a_test_that_is_here(self) -> None:
        rows = advisories.rows("Open, and not reached")
        assert {row[1].strip("`") for row in rows} == {"ecdsa", "python-jose", "rsa"}
        for row in rows:
            assert hasattr(TestAdvisories, row[-1].strip("`")), row
        assert advisories.waived()

    @pytest.mark.parametrize(("package", "fixed"), advisories.fixed().items())
    def test_nothing_is_below_the_version_that_mends_it(self, package: str, fixed: str) -> None:
        assert LOCKED[package] >= Version(fixed)
        assert floors().get(package, Version(fixed)) >= Version(fixed)

    def test_floors_are_not_above_the_lock(self) -> None:
        found = floors()
        assert found.keys() >= {"cryptography", "python-jose", "starlette", "urllib3"}
        for package, floor in found.items():
            assert floor <= LOCKED[package], package

    def test_the_audit_takes_the_waivers_of_the_document(self) -> None:
        printed = subprocess.run(
            [sys.executable, "-m", "deploy.advisories"], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
        assert printed == [word for one in advisories.waived() for word in ("--ignore-vuln", one)]
        assert "-m deploy.advisories" in (ROOT / "Makefile").read_text(encoding="utf-8")


class TestLicences:
    def test_all_that_is_installed_are_accepted(self) -> None:
        found = [*licences.installed(LOCK), *licences.vendored(sbom.VENDOR)]
        assert [one for one in found if not one.accepted] == []
        assert {one.name for one in found if one.name in licences.EXCEPTIONS} == licences.EXCEPTIONS.keys()
        assert all(one.texts for one in found)

    @pytest.mark.parametrize(
        ("expression", "accepted"),
        [
            ("MIT", True),
            ("MIT AND Apache-2.0", True),
            ("GPL-2.0-only OR MIT", True),
            ("MIT AND GPL-3.0-only", False),
            ("LGPL-3.0-only", False),
            ("none stated", False),
        ],
    )
    def test_a_new_one_is_refused_until_somebody_decides(self, expression: str, accepted: bool) -> None:
        assert licences.Licence("new", "1", expression).accepted is accepted

    def test_an_exception_is_for_its_package_and_its_licence(self) -> None:
        assert licences.Licence("psycopg", "3", "LGPL-3.0-only").accepted
        assert not licences.Licence("psycopg", "3", "AGPL-3.0-only").accepted

    def test_the_image_carries_the_notice(self) -> None:
        notice = licences.notice([*licences.installed(LOCK), *licences.vendored(sbom.VENDOR)])
        assert "GNU LESSER GENERAL PUBLIC LICENSE" in notice
        assert "https://github.com/psycopg/psycopg" in notice
        assert "aws4fetch 1" in notice
        dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
        assert "-m deploy.licences --notice >/opt/tokenvend/NOTICE" in dockerfile


class TestCopies:
    def test_the_document_lists_them_as_their_versions_say(self) -> None:
        listed = [[cell.strip("`") for cell in row] for row in advisories.rows("Copies")]
        found = [[one["directory"], one["name"], one["version"], one["licence"]] for one in sbom.vendored(sbom.VENDOR)]
        assert listed == found
        assert {directory.name for directory in sbom.VENDOR.iterdir()} == {row[0] for row in listed}

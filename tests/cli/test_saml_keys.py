"""`saml` mode on the command line, as an operator meets it: print the metadata, upload them, rotate the keys."""

import json
import os
from pathlib import Path

import pytest

from tests.support.commands import tokenvend
from tests.support.saml_sts import Provider
from tests.support.service import PROVIDER_ARN, ROLE_ARN, SECRET_KEY

pytestmark = pytest.mark.all


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": f"sqlite:///{tmp_path / 'cli.db'}",
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_PUBLIC_URL": "https://tokens.example.org",
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_VENDING_MODE": "saml",
        "TOKENVEND_SAML_PROVIDER_ARN": PROVIDER_ARN,
    }
    assert tokenvend("migrate", environment=environment, cwd=tmp_path).returncode == 0
    return environment


class TestKeys:
    def test_are_printed_and_rotated(self, environment: dict[str, str], tmp_path: Path) -> None:
        def run(*arguments: str) -> tuple[str, str]:
            done = tokenvend("keys", *arguments, "--purpose", "saml", environment=environment, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            return done.stdout, done.stderr

        first, told = run("show")
        provider = Provider.of(first.encode())
        assert provider.entity_id == "https://tokens.example.org/.well-known/saml-metadata.xml"
        assert "which signs from" in told
        assert run("show")[0] == first
        said = run("rotate")[0]
        listed = json.loads(run("list", "--json")[0])
        assert [key["state"] for key in listed] == ["signing", "published"]
        assert f"Upload the metadata before {listed[1]['signs_from']}" in said
        assert "aws iam update-saml-provider" in said
        second = run("show")[0]
        assert len(Provider.of(second.encode()).certificates) == 2
        assert "Upload the metadata now" in run("rotate", "--now")[0]
        (left,) = Provider.of(run("show")[0].encode()).certificates
        assert left not in Provider.of(second.encode()).certificates
        assert "PRIVATE" not in first + second


class TestDev:
    def test_says_that_its_engine_knows_no_saml(self, environment: dict[str, str], tmp_path: Path) -> None:
        done = tokenvend("dev", "--port", "0", "--data-dir", "var", environment=environment, cwd=tmp_path)
        assert done.returncode == 1
        assert "the embedded engine knows no AssumeRoleWithSAML" in done.stderr
        assert not (tmp_path / "var" / "engine").exists()

"""`tokenvend keys … --purpose cdn`, as an operator runs it: print, upload, set the id, rotate."""

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.commands import tokenvend
from tests.support.service import ROLE_ARN, SECRET_KEY, running_service

pytestmark = pytest.mark.all


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": f"sqlite:///{tmp_path / 'cli.db'}",
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
    }
    assert tokenvend("migrate", environment=environment, cwd=tmp_path).returncode == 0
    return environment


class TestKeys:
    def test_are_printed_used_and_rotated(self, environment: dict[str, str], tmp_path: Path) -> None:
        def run(*arguments: str, status: int = 0) -> tuple[str, str]:
            done = tokenvend("keys", *arguments, "--purpose", "cdn", environment=environment, cwd=tmp_path)
            assert done.returncode == status, done.stderr
            return done.stdout, done.stderr

        first, told = run("show")
        key = serialization.load_pem_public_key(first.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 2048
        assert "TOKENVEND_CDN_KEY_PAIR_ID" in told
        assert run("show")[0] == first
        _, refused = run("rotate", status=1)
        assert refused.startswith("The newest key was never in use.")

        cdn = {"cdn_url": "https://cdn.example.org", "cdn_key_pair_id": "KFIRST"}
        with running_service(environment["TOKENVEND_DATABASE_URL"], **cdn):
            pass  # it meets the id when it starts
        assert "CloudFront knows it as KFIRST" in run("show")[1]
        assert run("rotate")[0].startswith("Added ")
        second, told = run("show")
        assert second != first
        assert "It signs once it is uploaded" in told

        listed = json.loads(run("list", "--json")[0])
        assert [entry["key_pair_ids"] for entry in listed] == [["KFIRST"], []]
        lines = run("list")[0].splitlines()
        assert [line.split("Z  ")[1] for line in lines] == ["KFIRST", "not in use yet"]
        assert run("show", "--kid", listed[0]["kid"])[0] == first
        assert run("show", "--kid", "other", status=1)[1].startswith("There is no such key")
        assert run("rotate", status=1)[1] == refused
        run("rotate", "--now")
        assert len(run("list")[0].splitlines()) == 3
        assert "PRIVATE" not in first + second

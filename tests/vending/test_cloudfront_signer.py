"""Signatures of downloads, beside those of AWS's SDK for JavaScript; and what the guide's lines make of them."""

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from cryptography.hazmat.primitives import serialization

from app.policy import cdn_policy
from tests.support import node
from tests.support.documents import ROOT, blocks
from tests.support.service import Service
from tests.vending.test_downloads import CDN, ID, ask, private_key

pytestmark = pytest.mark.all

SIGNER = Path(__file__).parent / "cloudfront_signer"
PATHS = ("", "albums/2026/", "Fotos/Zürich 🏔/", "100%41/", "a+b (c)'!/")
NAMES = ("beach.jpg", "Blüte 🌸.jpg", "what?*.jpg", "x/100%41 #1.jpg")


@pytest.fixture
def made(make_service: Callable[..., Service]) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Each answer, the key that was asked for, and what Node said of both."""
    node.install(SIGNER)
    service = make_service(cdn_url=CDN, cdn_key_pair_id=ID)
    device = service.device()
    items = [ask(device, path=path)[0] for path in PATHS]
    pem = private_key(service).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (guide,) = [block.code for block in blocks(ROOT / "docs" / "app" / "downloads.md") if block.language == "js"]
    asked = [(item, item["prefix"] + name) for item in items for name in NAMES]
    given = {
        "keyPairId": ID,
        "privateKey": pem.decode(),
        "guide": guide,
        "items": [{"item": item, "key": key, "policy": policy_of(item)} for item, key in asked],
    }
    done = subprocess.run(
        ["node", "sign.js"],
        cwd=SIGNER,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(item, key, told) for (item, key), told in zip(asked, json.loads(done.stdout), strict=True)]


def policy_of(item: dict[str, Any]) -> str:
    return cdn_policy.policy(CDN, item["prefix"], datetime.fromisoformat(item["expires_at"]))


class TestDocument:
    def test_makes_the_urls_that_the_edge_takes(self, made: list[tuple[dict[str, Any], str, dict[str, Any]]]) -> None:
        for item, key, told in made:
            rest = quote(key.removeprefix(item["prefix"]), safe="/!'()*")
            assert told["made"] == f"{item['base_url']}{rest}?{item['query']}"


class TestSdk:
    def test_signs_the_same(self, made: list[tuple[dict[str, Any], str, dict[str, Any]]]) -> None:
        """It has the parameters in another order than AWS's page and botocore, and respells what it signs."""
        for item, _, told in made:
            place, _, query = told["url"].partition("?")
            assert unquote(place) == unquote(f"{item['base_url']}a.jpg")
            assert sorted(query.split("&")) == sorted(item["query"].split("&"))
            assert told["cookies"] == {cookie["name"]: cookie["value"] for cookie in item["cookies"]}

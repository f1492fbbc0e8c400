"""Upload tickets: what a form says, whose credential signs it, and who gets none. S3 itself: `test_tickets_ceph.py`."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.aws.sts_client import StsCredential
from app.vending import tickets
from tests.security.observed import assert_problem
from tests.support.service import Device, Service, test_settings

WISH = {"path": "albums/2026/beach.jpg", "content_type": "image/jpeg", "size": 1234}
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-000000000001"
NOW = datetime(2026, 11, 26, 18, 0, tzinfo=UTC)
WRONG: list[dict[str, Any]] = [
    {"path": ""},
    {"path": "albums/"},
    {"path": "a/${filename}"},
    {"size": 0},
    {"size": -1},
    {"size": 5 * 2**30 + 1},
    {"size": "5"},
    {"size": 1.5},
    {"content_type": "image"},
    {"content_type": "image/jpeg;"},
    {"content_type": "image/jpeg; charset"},
    {"content_type": "image/jpeg; a=${x}"},
    {"content_type": 'image/jpeg; a="$x"'},
    {"content_type": 'image/jpeg; a="b'},
    {"content_type": "image/jpeg; a=ü"},
    {"content_type": "image/jpeg; a=b\n"},
    {"content_type": "image/" + "j" * 250},
    {"content_type": "image/*"},
    {"content_type": "image/$x"},
    {"content_type": "image/jpeg\n"},
    {"content_type": ""},
    {"path": "../a.jpg"},
    {"path": "albums/%2e%2e/a.jpg"},
]
CREDENTIAL = StsCredential("ASIAEXAMPLE", "secret", "token", NOW + timedelta(hours=1), None)


def ask(device: Device, **changes: Any) -> Any:
    return device.post("/v1/uploads", json=WISH | changes)


def fields_of(ticket: Any) -> dict[str, str]:
    return {field["name"]: field["value"] for field in ticket["fields"]}


def policy_of(fields: dict[str, str]) -> Any:
    return json.loads(base64.b64decode(fields["policy"]))


class TestForm:
    def test_is_signed_as_by_the_sdk(self) -> None:
        """botocore signs the same policy with the same credential to the same signature."""
        fields = dict(
            tickets.form(
                test_settings(), CREDENTIAL, NOW, NOW + tickets.LIFE, key="users/x/a.jpg", content_type="a/b", size=5
            )
        )
        scope = ("20261126", "us-east-1", "s3", "aws4_request")
        assert fields["x-amz-credential"] == "/".join(("ASIAEXAMPLE", *scope))
        signer = S3SigV4PostAuth(Credentials("ASIAEXAMPLE", "secret", "token"), "s3", "us-east-1")
        request = AWSRequest("POST", "https://photos.s3.amazonaws.com/")
        request.context["timestamp"] = "20261126T180000Z"
        assert signer.signature(fields["policy"], request) == fields["x-amz-signature"]

    def test_has_each_field_in_its_policy(self) -> None:
        """S3 refuses a form with a field that the policy does not name, and one that lacks what it names."""
        fields = dict(
            tickets.form(
                test_settings(kms_key_arn=KEY),
                CREDENTIAL,
                NOW,
                NOW + tickets.LIFE,
                key="users/x/ü.jpg",
                content_type="a/b",
                size=5,
            )
        )
        document = policy_of(fields)
        assert document["expiration"] == "2026-11-26T18:15:00Z"
        named = {
            name: value for entry in document["conditions"] if isinstance(entry, dict) for name, value in entry.items()
        }
        assert named.pop("bucket") == "photos"
        assert named == {name: value for name, value in fields.items() if name not in ("policy", "x-amz-signature")}
        assert [entry for entry in document["conditions"] if isinstance(entry, list)] == [
            ["content-length-range", 5, 5]
        ]
        assert fields["x-amz-server-side-encryption-aws-kms-key-id"] == KEY

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, "https://photos.s3.us-east-1.amazonaws.com/"),
            ({"AWS_REGION": "cn-north-1", "role_arn": ""}, "https://photos.s3.cn-north-1.amazonaws.com.cn/"),
            ({"bucket": "my.photos"}, "https://s3.us-east-1.amazonaws.com/my.photos"),
            ({"s3_endpoint_url": "http://s3.inside:9000", "s3_force_path_style": True}, "http://s3.inside:9000/photos"),
            (
                {"s3_endpoint_url": "http://s3.inside:9000", "s3_public_endpoint_url": "https://s3.example.org"},
                "https://photos.s3.example.org/",
            ),
        ],
    )
    def test_goes_where_clients_reach_the_bucket(self, changes: dict[str, Any], expected: str) -> None:
        assert tickets.url(test_settings(**changes), public=True) == expected


BROWSERS = [
    "video/webm;codecs=vp9,opus",
    "video/mp4;codecs=avc1.42E01E,mp4a.40.2",
    'video/mp4; codecs="avc1.424028, mp4a.40.2"',
    "audio/webm;codecs=opus",
    "text/plain;charset=utf-8",
    "image/svg+xml",
]
"""What `Blob.type` and `MediaRecorder.mimeType` say."""


class TestContentType:
    @pytest.mark.parametrize("content_type", BROWSERS)
    def test_is_taken_as_browsers_say_it(self, service: Service, content_type: str) -> None:
        answer = ask(service.device(), content_type=content_type)
        assert answer.status_code == 200, answer.text
        fields = fields_of(answer.json())
        assert fields["Content-Type"] == content_type
        assert {"Content-Type": content_type} in policy_of(fields)["conditions"]

    def test_that_is_none_is_refused_in_words(self, service: Service) -> None:
        (error,) = ask(service.device(), content_type="a film").json()["errors"]
        assert error["location"] == "body.content_type"
        assert "write a media type such as image/jpeg or video/webm;codecs=vp9,opus" in error["message"]
        assert error["message"].endswith("application/octet-stream")


class TestTicket:
    def test_is_for_one_object_of_the_caller(self, service: Service) -> None:
        device = service.device()
        answer = ask(device)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        ticket, fields = answer.json(), fields_of(answer.json())
        assert ticket["key"] == fields["key"] == f"users/{device.user_id}/{WISH['path']}"
        assert urlsplit(ticket["url"]).hostname == "photos.s3.us-east-1.amazonaws.com"
        assert ticket["expires_in"] == 900
        assert ["content-length-range", 1234, 1234] in policy_of(fields)["conditions"]
        assert "secret" not in answer.text

    def test_is_signed_with_a_credential_of_the_ledger_for_its_folder(self, service: Service) -> None:
        """No key of the service's own: limited, audited and revoked as every other."""
        device = service.device()
        ticket = ask(device).json()
        (row,) = device.get("/v1/me/credentials").json()["items"]
        assert (row["credential_id"], row["access"]) == (ticket["credential_id"], "write")
        assert row["prefix"] == f"users/{device.user_id}/albums/2026/"
        assert fields_of(ticket)["x-amz-credential"].startswith(f"{row['access_key_id']}/")
        assert ask(device, path="albums/2026/other.jpg").json()["credential_id"] == ticket["credential_id"]
        device.post("/v1/credentials/revoke")
        service.clock.advance(seconds=1)
        assert ask(device).json()["credential_id"] != ticket["credential_id"]

    def test_ends_with_its_credential(self, make_service: Callable[..., Service]) -> None:
        service = make_service(credential_ttl=900)
        device = service.device()
        ask(device)
        service.clock.advance(seconds=400)
        ticket = ask(device).json()
        assert ticket["expires_in"] == 500
        assert policy_of(fields_of(ticket))["expiration"] == ticket["expiration"]

    def test_is_for_nothing_else(self, service: Service) -> None:
        device = service.device()
        for change in WRONG:
            code = "invalid_path" if "path" in change else "invalid_request"
            assert_problem(ask(device, **change), 422, code)
        assert service.sql("SELECT count(*) FROM issued_credentials") == [(0,)]

    def test_counts_for_the_quota(self, make_service: Callable[..., Service]) -> None:
        service = make_service(quota_bytes=2000)
        device = service.device()
        assert ask(device, size=2000).status_code == 200
        service.sql("UPDATE usage SET bytes = 1000")
        assert ask(device, size=1000).status_code == 200
        assert_problem(ask(device, size=1001), 403, "quota_exceeded")
        service.sql("UPDATE usage SET bytes = 2000")
        assert_problem(ask(device, size=1), 403, "quota_exceeded")

    def test_is_limited_as_credentials_are(self, make_service: Callable[..., Service]) -> None:
        device = make_service(rate_limits="on").device()
        assert [ask(device).status_code for _ in range(61)][-2:] == [200, 429]

    def test_is_not_given_where_the_engine_may_not_take_it(self, make_service: Callable[..., Service]) -> None:
        """An engine that answers 201 and stores nothing loses pictures."""
        device = make_service(s3_endpoint_url="http://127.0.0.1:9").device()
        assert_problem(ask(device), 404, "upload_tickets_off")
        assert device.get("/v1/me/credentials").json()["items"] == []
        assert ask(make_service(s3_endpoint_url="http://127.0.0.1:9", upload_tickets="on").device()).status_code == 200

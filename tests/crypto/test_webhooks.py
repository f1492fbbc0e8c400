"""Signatures of Standard Webhooks 1.0, by the specification's own example."""

import base64
import subprocess

import pytest

from app.crypto import webhooks
from tests.support.old_system import OTHER_SECRET, SECRET, guides_block


class TestSignature:
    def test_is_the_one_of_the_published_example(self) -> None:
        """Of the libraries of standard-webhooks/standard-webhooks, whose tests share it."""
        key = webhooks.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        headers = webhooks.signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

    def test_is_there_by_each_key(self) -> None:
        keys = [webhooks.key_of(secret) for secret in (SECRET, OTHER_SECRET)]
        one, other = (webhooks.signed([key], "msg_1", 7, b"{}")["webhook-signature"] for key in keys)
        assert one != other
        assert webhooks.signed(keys, "msg_1", 7, b"{}")["webhook-signature"] == f"{one} {other}"

    def test_is_of_id_time_and_body(self) -> None:
        key = webhooks.key_of(SECRET)
        messages = (("msg_1", 7, b"{}"), ("msg_2", 7, b"{}"), ("msg_1", 8, b"{}"), ("msg_1", 7, b"{ }"))
        assert len({webhooks.signed([key], *message)["webhook-signature"] for message in messages}) == 4
        assert webhooks.new_id() != webhooks.new_id()

    def test_is_what_the_guides_line_makes(self) -> None:
        lines = guides_block("TOKENVEND_MIGRATION_URL=") + 'printf %s "$TOKENVEND_MIGRATION_SECRET"'
        made = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, check=True).stdout
        assert len(webhooks.key_of(made)) == 32

    @pytest.mark.parametrize(
        "secret",
        [
            *("", "whsec_", SECRET.removeprefix("whsec_"), SECRET + "!", SECRET[:-1], "whsec_ÄÄÄÄ"),
            *("whsec_" + base64.b64encode(bytes(size)).decode() for size in (23, 65)),
        ],
    )
    def test_wants_a_secret_of_its_kind(self, secret: str) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - whatever base64 raises is one
            webhooks.key_of(secret)

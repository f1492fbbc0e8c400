"""A guest's journey: pictures first, an account later, and the same pictures on another device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from botocore.exceptions import ClientError
from httpx2 import Client

from tests.journeys.deployment import PASSWORD, Deployment, Person, s3_of


@contextmanager
def signed_in(deployment: Deployment, path: str, body: dict[str, str]) -> Iterator[Person]:
    """Whoever the answer of a sign-in makes us."""
    with Client(base_url=deployment.url, timeout=30) as http:
        answer = http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        token = answer.json()["tokens"]["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield Person(deployment, http, token, http.get("/v1/me").json()["id"])


class TestGuest:
    def test_keeps_the_pictures(self, on_this_machine: Deployment, china: bytes, flower: bytes) -> None:
        """VC1: a guest uploads, upgrades, and sees and adds to the same pictures on another device."""
        email = {"email": f"guest-{id(self)}@example.org", "password": PASSWORD}
        with signed_in(on_this_machine, "/v1/auth/guest", {"device_name": "phone"}) as guest:
            place = guest.vend()
            key = {"Bucket": place["bucket"], "Key": place["prefix"] + "china.jpg"}
            s3_of(place).put_object(**key, Body=china, ContentType="image/jpeg")
            answer = guest.http.post("/v1/me/upgrade", json=email)
            assert (answer.status_code, answer.json()) == (200, {"status": "active"})
            with signed_in(on_this_machine, "/v1/auth/login", email) as elsewhere:
                assert elsewhere.id == guest.id
                there = elsewhere.vend()
                assert there["prefix"] == place["prefix"]
                assert s3_of(there).get_object(**key)["Body"].read() == china
                added = {"Bucket": there["bucket"], "Key": there["prefix"] + "flower.jpg"}
                s3_of(there).put_object(**added, Body=flower, ContentType="image/jpeg")
            assert s3_of(guest.vend()).get_object(**added)["Body"].read() == flower

    def test_sees_nobody_elses(self, on_this_machine: Deployment, china: bytes) -> None:
        """VC2: a guest's credential is a user's."""
        with (
            signed_in(on_this_machine, "/v1/auth/guest", {}) as one,
            signed_in(on_this_machine, "/v1/auth/guest", {}) as other,
        ):
            place = one.vend()
            key = {"Bucket": place["bucket"], "Key": place["prefix"] + "china.jpg"}
            s3_of(place).put_object(**key, Body=china, ContentType="image/jpeg")
            with pytest.raises(ClientError) as refused:
                s3_of(other.vend()).get_object(**key)
            assert refused.value.response["Error"]["Code"] == "AccessDenied"

"""The policy that denies what was revoked: whom it hits, and nobody else."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.crypto.encoding import b64url
from app.revocation import denials
from app.revocation.denials import Denial
from app.revocation.iam_writer import PROBE
from tests.policy.iam import allowed

GOLDEN = Path(__file__).parent / "golden_denials"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADA, BOB = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a"), uuid.UUID("f2a1c3d4-0000-4000-8000-000000000001")
PHONE, TABLET = uuid.UUID("11111111-2222-4333-8444-555555555555"), uuid.UUID("66666666-7777-4888-9999-aaaaaaaaaaaa")
OF_A_ROLE = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


def of_device(user_id: uuid.UUID, session_id: uuid.UUID) -> Denial:
    return Denial("session", user_id, session_id, NOON)


def of_user(user_id: uuid.UUID, not_before: datetime = NOON) -> Denial:
    return Denial("user", user_id, None, not_before)


def of_all(not_before: datetime = NOON) -> Denial:
    return Denial("everyone", None, None, not_before)


@dataclass(frozen=True)
class Credential:
    user_id: uuid.UUID
    session_id: uuid.UUID
    issued_at: datetime

    @property
    def name(self) -> str:
        """Of the STS session."""
        return f"{self.user_id}.{b64url(self.session_id.bytes)}"

    def is_hit(self, denial: Denial) -> bool:
        if denial.scope == "session":
            return (denial.user_id, denial.session_id) == (self.user_id, self.session_id)
        named = denial.scope == "everyone" or denial.user_id == self.user_id
        return named and self.issued_at < denial.not_before

    def opens(self, document: str, action: str = "s3:GetObject") -> bool:
        """By the role's own policies, this one among them, as IAM evaluates them for the session."""
        context = {
            "aws:userid": f"AROAEXAMPLE:{self.name}",
            "aws:TokenIssueTime": self.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        also = [document] if document else []
        return allowed(OF_A_ROLE, action, "arn:aws:s3:::photos/users/x/y.jpg", also=also, context=context)


SETS: dict[str, list[Denial]] = {
    "device": [of_device(ADA, PHONE)],
    "user": [of_user(ADA)],
    "everyone": [of_all()],
    "all_kinds": [
        of_device(ADA, TABLET),
        of_device(ADA, PHONE),
        of_user(BOB, NOON + timedelta(seconds=7)),
        of_user(ADA),
        of_all(NOON - timedelta(hours=1)),
    ],
}


@pytest.mark.parametrize("name", SETS)
class TestDocument:
    def test_is_the_golden_one(self, name: str) -> None:
        document = denials.build(SETS[name])
        golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
        assert document == json.dumps(golden, separators=(",", ":"))

    def test_is_the_same_in_any_order(self, name: str) -> None:
        assert denials.build(reversed(SETS[name])) == denials.build(SETS[name])


class TestNothing:
    def test_is_no_document(self) -> None:
        assert denials.build([]) == ""

    def test_is_denied_by_the_probe(self) -> None:
        assert Credential(ADA, PHONE, NOON).opens(PROBE)


class TestDevice:
    def test_is_denied_whenever_its_credential_was_issued(self) -> None:
        document = denials.build([of_device(ADA, PHONE)])
        for minutes in (-60, 0, 60):
            assert not Credential(ADA, PHONE, NOON + timedelta(minutes=minutes)).opens(document)

    def test_leaves_the_users_others_alone(self) -> None:
        assert Credential(ADA, TABLET, NOON - timedelta(hours=1)).opens(denials.build([of_device(ADA, PHONE)]))

    @pytest.mark.parametrize("action", ["s3:PutObject", "s3:ListBucket", "kms:Decrypt", "sts:AssumeRole"])
    def test_is_denied_everything(self, action: str) -> None:
        assert not Credential(ADA, PHONE, NOON).opens(denials.build([of_device(ADA, PHONE)]), action)


class TestUser:
    @pytest.mark.parametrize(("seconds", "opens"), [(-3600, False), (-1, False), (0, True), (1, True)])
    def test_is_denied_what_was_issued_before(self, seconds: int, *, opens: bool) -> None:
        credential = Credential(ADA, PHONE, NOON + timedelta(seconds=seconds))
        assert credential.opens(denials.build([of_user(ADA)])) is opens

    def test_leaves_others_alone(self) -> None:
        assert Credential(BOB, PHONE, NOON - timedelta(hours=1)).opens(denials.build([of_user(ADA)]))


PEOPLE = st.sampled_from([uuid.UUID(int=number << 64 | 0x4000) for number in range(1, 7)])
DEVICES = st.builds(
    lambda user_id, number: (user_id, uuid.UUID(int=user_id.int << 32 | number)), PEOPLE, st.integers(1, 4)
)
"""Each is one user's, who has four."""
MOMENTS = st.integers(-5, 5).map(lambda seconds: NOON + timedelta(seconds=seconds))
DENIALS = st.one_of(
    st.builds(lambda device: of_device(*device), DEVICES),
    st.builds(of_user, PEOPLE, MOMENTS),
    st.builds(of_all, MOMENTS),
)
CREDENTIALS = st.builds(lambda device, issued_at: Credential(*device, issued_at), DEVICES, MOMENTS)


class TestAnySet:
    @given(st.lists(DENIALS, max_size=12), st.lists(CREDENTIALS, min_size=1, max_size=20))
    def test_denies_all_that_it_names_and_nothing_else(
        self, denied: list[Denial], credentials: Iterable[Credential]
    ) -> None:
        """Of several floors for all, as of several rows of one, the latest counts."""
        document = denials.build(denied)
        assert document.isascii()
        for credential in credentials:
            assert credential.opens(document) is not any(map(credential.is_hit, denied)), credential

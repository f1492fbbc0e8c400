"""Hashes that other systems made: verified once, then replaced by ours; what they may cost; and context words."""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import argon2, bcrypt, pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512, scrypt

from app import passwords
from app.crypto import PASSWORD_CONTEXT, is_supported_hash
from app.passwords import Hasher, check_strength
from app.problems import WeakPassword
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.security.races import CROWD, all_at_once
from tests.support.service import PASSWORD, Service

MAKERS = {
    "bcrypt 2a": bcrypt.using(rounds=4, ident="2a"),
    "bcrypt 2b": bcrypt.using(rounds=4, ident="2b"),
    "bcrypt 2y": bcrypt.using(rounds=4, ident="2y"),
    "scrypt": scrypt.using(rounds=4),
    "pbkdf2 sha1": pbkdf2_sha1.using(rounds=10),
    "pbkdf2 sha256": pbkdf2_sha256.using(rounds=10),
    "pbkdf2 sha512": pbkdf2_sha512.using(rounds=10),
    "argon2i": argon2.using(type="I", memory_cost=64, time_cost=1, parallelism=1),
    "argon2d": argon2.using(type="D", memory_cost=64, time_cost=1, parallelism=4),
    "weaker argon2id": argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1),
}
SALT, DIGEST = "jVHq/Z8TwlhL6b0X4txbKw", "yslhUMjjwYG4PDWmaO0cLRg3ZKh9OzDQDJgxAnNzN4c"
AFFORDABLE = [
    "$2b$14$g1WE.zYkpRGnhRPpTh3w6O1HziA7fFyJ3iyuhcHSG1PnudDdLqmDW",
    f"$scrypt$ln=17,r=8,p=1${SALT}${DIGEST}",
    f"$scrypt$ln=14,r=8,p=16${SALT}${DIGEST}",
    f"$pbkdf2-sha256$1200000${SALT}${DIGEST}",
    f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}",
    f"$argon2id$v=19$m=262144,t=3,p=1${SALT}${DIGEST}",
]
REFUSED = [
    "",
    "no password has this hash",
    "plain text",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "$1$abcdefgh$yzF3ZSHyMEqn1ZzKUCIDA.",
    "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
    "$2b$15$g1WE.zYkpRGnhRPpTh3w6O1HziA7fFyJ3iyuhcHSG1PnudDdLqmDW",
    "$2b$31$g1WE.zYkpRGnhRPpTh3w6O1HziA7fFyJ3iyuhcHSG1PnudDdLqmDW",
    "$2b$12$g1WE.zYkpRGnhRPpTh3w6O",
    "$2b$12$short",
    f"$scrypt$ln=20,r=8,p=1${SALT}${DIGEST}",
    f"$scrypt$ln=14,r=8,p=64${SALT}${DIGEST}",
    f"$scrypt$ln=99999999,r=8,p=1${SALT}${DIGEST}",
    f"$scrypt$ln=10,r=99999999999,p=1${SALT}${DIGEST}",
    f"$scrypt$n=10${SALT}${DIGEST}",
    f"$scrypt$ln=10,r=8,p=1${SALT}",
    f"$pbkdf2-sha256$4294967295${SALT}${DIGEST}",
    f"$pbkdf2-sha256$x${SALT}${DIGEST}",
    f"$pbkdf2-sha256$1000${SALT}${DIGEST}$more",
    f"$argon2id$v=19$m=1048576,t=4,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=65536,t=100,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=65536,t=1,p=8000${SALT}${DIGEST}",
    f"$argon2id$v=19$m=65536,t=3,p=4${SALT}",
    f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${'A' * 300}",
    "$argon2id$é",
]
STORED = "SELECT password_hash FROM users WHERE email = :email"


def imported(service: Service, password_hash: str, email: str = "imported@example.org") -> str:
    """An account whose hash came from elsewhere."""
    service.register(email)
    service.sql("UPDATE users SET password_hash = :hash WHERE email = :email", hash=password_hash, email=email)
    return email


class TestImportedHashes:
    @pytest.mark.parametrize("kind", MAKERS)
    def test_one_sign_in_makes_it_ours(self, service: Service, kind: str) -> None:
        """AU6: by the right password alone; what replaces it is argon2id of today's cost, and works."""
        old = MAKERS[kind].hash(PASSWORD)
        email = imported(service, old)
        assert_problem(service.log_in(email, PASSWORD + "x"), 401, "invalid_login")
        assert service.sql(STORED, email=email) == [(old,)]
        assert service.log_in(email).status_code == 200
        ((new,),) = service.sql(STORED, email=email)
        parsed = argon2.from_string(new)
        assert (parsed.type, parsed.memory_cost, parsed.rounds, parsed.parallelism) == ("id", 19456, 2, 1)
        assert service.log_in(email).status_code == 200
        assert service.sql(STORED, email=email) == [(new,)]
        assert_problem(service.log_in(email, PASSWORD + "x"), 401, "invalid_login")

    def test_new_hashes_are_argon2id_alone(self) -> None:
        assert PASSWORD_CONTEXT.hash(PASSWORD).startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    @pytest.mark.parametrize("letter", ["x", "é", "🦔"])
    def test_bcrypt_saw_72_bytes_and_ours_sees_all(self, service: Service, letter: str) -> None:
        """AU2: the first sign-in is compared as the other system did, also amid a character; then each counts."""
        password = "a" + letter * 100
        email = imported(service, MAKERS["bcrypt 2b"].hash(password.encode()[:72]))
        assert service.log_in(email, password).status_code == 200
        assert_problem(service.log_in(email, password + letter), 401, "invalid_login")
        assert_problem(service.log_in(email, password[:-1]), 401, "invalid_login")
        assert service.log_in(email, password).status_code == 200

    @pytest.mark.parametrize("form", ["NFC", "NFD", "NFKD"])
    @pytest.mark.parametrize("kind", ["bcrypt 2b", "weaker argon2id"])
    def test_of_any_normal_form_takes_the_same_keys(self, service: Service, kind: str, form: Any) -> None:
        """AU2: other systems hashed what they were sent; from then on it is NFC, whatever keyboard sends it."""
        email = imported(service, MAKERS[kind].hash(unicodedata.normalize(form, "Zoë's crème brûlée")))
        assert_problem(service.log_in(email, "Zoe's creme brulee"), 401, "invalid_login")
        for typed in ("NFC", "NFD"):
            assert service.log_in(email, unicodedata.normalize(typed, "Zoë's crème brûlée")).status_code == 200

    def test_are_tried_three_times_at_most_and_ours_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = CountingContext(), argon2.using(type="ID", memory_cost=128, time_cost=1, parallelism=1)
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", ours)
        hasher = Hasher(threads=1)
        mixed = "cre\u0300me bru\u0302l\u00e9e"  # neither NFC nor NFD
        tries = []
        for password, stored in (
            (PASSWORD, theirs.hash("x")),
            (mixed, theirs.hash("x")),
            (mixed, theirs.hash(mixed)),
            (mixed, ours.hash("x")),
            (mixed, None),
        ):
            before = len(ours.verified)
            asyncio.run(hasher.verify(password, stored))
            tries.append(len(ours.verified) - before)
        hasher.close()
        assert tries == [1, 3, 2, 1, 1]

    def test_bcrypt_does_not_stop_at_a_nul(self) -> None:
        stored = MAKERS["bcrypt 2b"].hash("violet")
        assert PASSWORD_CONTEXT.verify("violet", stored)
        assert not PASSWORD_CONTEXT.verify("violet\0 tractor", stored)

    def test_devices_that_sign_in_at_once_all_get_in(self, service: Service) -> None:
        """The hash that one of them upgraded is the one that the others verify anew."""
        email = imported(service, MAKERS["bcrypt 2b"].hash(PASSWORD))
        answers = all_at_once(lambda _: service.log_in(email).status_code, CROWD // 2)
        assert set(answers) == {200}

    def test_a_password_changed_meanwhile_does_not_sign_in(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        email = service.device().email
        verify = service.runtime.hasher.verify

        async def verify_while_changing(password: str, stored: str | None) -> tuple[bool, str | None]:
            verdict = await verify(password, stored)
            other = PASSWORD_CONTEXT.hash("copper lantern drifts")
            service.sql("UPDATE users SET password_hash = :hash WHERE email = :email", hash=other, email=email)
            return verdict

        monkeypatch.setattr(service.runtime.hasher, "verify", verify_while_changing)
        assert_problem(service.log_in(email), 401, "invalid_login")


class TestSupportedHashes:
    @pytest.mark.parametrize("kind", MAKERS)
    def test_they_are_passlibs_spellings(self, kind: str) -> None:
        assert is_supported_hash(MAKERS[kind].hash(PASSWORD))

    @pytest.mark.parametrize("text", AFFORDABLE)
    def test_what_other_systems_recommend_is_affordable(self, text: str) -> None:
        assert is_supported_hash(text)

    @pytest.mark.parametrize("text", REFUSED)
    def test_what_would_take_minutes_gigabytes_or_is_none_at_all_is_not(self, text: str) -> None:
        assert not is_supported_hash(text)

    @given(
        st.sampled_from([*AFFORDABLE, *REFUSED]),
        st.integers(0, 80),
        st.integers(0, 80),
        st.text(alphabet="$=,0129mtprlnvid./+é\0 ", max_size=8),
    )
    def test_no_text_breaks_it(self, text: str, start: int, end: int, between: str) -> None:
        assert is_supported_hash(text[:start] + between + text[end:]) in (True, False)

    @pytest.mark.parametrize("text", REFUSED)
    def test_one_that_is_stored_all_the_same_opens_nothing(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One verification, of the dummy, and a line for the operator that holds no part of it."""
        hasher = Hasher(threads=1)
        verified = []
        context = type("Context", (), {"verify": lambda _self, *pair: verified.append(pair) or True})()
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", context)
        with structlog.testing.capture_logs() as logs:
            assert asyncio.run(hasher.verify(PASSWORD, text)) == (False, None)
        hasher.close()
        assert verified == [(PASSWORD, hasher._dummy_hash)]
        assert [entry["event"] for entry in logs] == ["password_hash_not_supported"]
        assert not text or text not in str(logs)

    def test_the_work_is_done_in_the_hashers_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = []
        run = ThreadPoolExecutor.submit

        def submit(pool: ThreadPoolExecutor, *args: object) -> object:
            names.append(pool._thread_name_prefix)
            return run(pool, *args)  # type: ignore[arg-type]

        hasher = Hasher(threads=1)
        monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
        assert asyncio.run(hasher.verify(PASSWORD, MAKERS["bcrypt 2b"].hash(PASSWORD)))[0]
        hasher.close()
        assert names == ["hasher"]


class TestContextWords:
    @pytest.mark.parametrize(
        "password", ["pemberley1813", "1813-Pemberley!", "bennet.pemberley", "BENNET_1813", "bennet-1813?"]
    )
    def test_parts_of_an_address_are_words(self, password: str) -> None:
        """AU4: whatever joins them: a dot, an underscore, a hyphen or a plus."""
        for email in ("bennet_pemberley@example.org", "bennet-pemberley@example.org", "bennet+pemberley@example.org"):
            with pytest.raises(WeakPassword):
                check_strength(password, min_length=8, context=(email,))

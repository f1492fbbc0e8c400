"""Which work waits where, what is judged of a password, and hashes that other systems made, verified once."""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import argon2, bcrypt, pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512, scrypt
from zxcvbn.matching import L33T_TABLE, enumerate_l33t_subs, relevant_l33t_subtable

from app.accounts import password_strength, passwords
from app.accounts.password_strength import (
    LEAST_GUESSES,
    LETTERS_OF,
    MOST_LOOK_UPS,
    _readings,
    _scored,
    check_strength,
)
from app.accounts.passwords import Hasher
from app.crypto.password_hashes import PASSWORD_CONTEXT
from app.platform.problems import Overloaded, WeakPassword
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.security.races import CROWD, all_at_once
from tests.support.logged import capture_logs
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
CHEAP = argon2.using(type="ID", memory_cost=128, time_cost=1, parallelism=1)
MIXED = "cre\u0300me bru\u0302l\u00e9e"
"""A password that is neither in NFC nor in NFD."""
AS_IT_CAME = CHEAP.hash(MIXED)
SALT, DIGEST = "jVHq/Z8TwlhL6b0X4txbKw", "yslhUMjjwYG4PDWmaO0cLRg3ZKh9OzDQDJgxAnNzN4c"
UNUSABLE = ["", "no password has this hash", f"$argon2id$v=19$m=19456,t=1000,p=1${SALT}${DIGEST}"]
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

    def test_of_compatibility_letters_takes_them_as_typed(self, service: Service) -> None:
        """AU2: better-auth, oslo and Synapse hash NFKC, in which `ﬁ` is two letters."""
        typed = "Ｖiolet tractor ﬁre"
        email = imported(service, MAKERS["bcrypt 2b"].hash(unicodedata.normalize("NFKC", typed)))
        assert service.log_in(email, typed).status_code == 200
        assert_problem(service.log_in(email, unicodedata.normalize("NFKC", typed)), 401, "invalid_login")  # ours is NFC

    @pytest.mark.parametrize(
        ("password", "stored", "tries"),
        [
            (PASSWORD, CHEAP.hash("x"), 1),
            (MIXED, CHEAP.hash("x"), 3),
            (MIXED, AS_IT_CAME, 1),
            (MIXED, f"$argon2id$v=19$m=19456,t=20,p=1${SALT}${DIGEST}", 3),
            (MIXED, f"$argon2id$v=19$m=19456,t=40,p=1${SALT}${DIGEST}", 2),
            (MIXED, f"$argon2id$v=19$m=19456,t=60,p=1${SALT}${DIGEST}", 1),
            (MIXED, CountingContext().hash("x"), 1),
            (MIXED, None, 1),
        ],
        ids=["ASCII", "cheap", "as it came", "twenty rounds", "forty rounds", "sixty rounds", "ours", "none"],
    )
    def test_are_tried_as_often_as_about_a_second_allows(
        self, monkeypatch: pytest.MonkeyPatch, password: str, stored: str | None, tries: int
    ) -> None:
        """AU22: what was typed comes first, as the other system was sent that too; ours is tried once, in NFC.

        No hash is computed here.
        """
        hasher, ours = Hasher(threads=1), Refusing()
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", ours)
        asyncio.run(hasher.verify(password, stored, by="somebody"))
        hasher.close()
        assert len(ours.verified) == tries
        is_ours = stored is None or stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
        assert ours.verified[0] == (unicodedata.normalize("NFC", password) if is_ours else password)

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

        async def verify_while_changing(password: str, stored: str | None, *, by: str) -> tuple[bool, str | None]:
            verdict = await verify(password, stored, by=by)
            other = PASSWORD_CONTEXT.hash("copper lantern drifts")
            service.sql("UPDATE users SET password_hash = :hash WHERE email = :email", hash=other, email=email)
            return verdict

        monkeypatch.setattr(service.runtime.hasher, "verify", verify_while_changing)
        assert_problem(service.log_in(email), 401, "invalid_login")


class Refusing(CountingContext):
    """Notes the passwords that it is asked about, and computes nothing."""

    def verify(self, *args: Any, **kwargs: Any) -> bool:
        self.verified.append(args[0])
        return args[1] == AS_IT_CAME and args[0] == MIXED


class TestFirst:
    @pytest.mark.parametrize("stored", [None, "", CHEAP.hash(PASSWORD)], ids=["none", "no hash", "ours"])
    def test_takes_as_long_for_everybody(self, monkeypatch: pytest.MonkeyPatch, stored: str | None) -> None:
        """AU9: the dummy is made before anything is verified, also for who has a hash."""
        context = CountingContext()
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", context)
        hasher, names = Hasher(threads=1), lanes_used(monkeypatch)
        asyncio.run(hasher.verify(PASSWORD, stored, by="somebody"))
        hasher.close()
        assert names[0] == "sign_in"
        assert context.hashed == 1 + names.count("new")
        assert len(context.verified) == 1


class TestUnusableHashes:
    @pytest.mark.parametrize("text", UNUSABLE)
    def test_one_that_is_stored_all_the_same_opens_nothing(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One verification, of the dummy, and a line for the operator that holds no part of it."""
        hasher = Hasher(threads=1)
        dummy, verified = hasher._dummy_hash, []
        context = type("Context", (), {"verify": lambda _self, *pair: verified.append(pair) or True})()
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", context)
        with capture_logs() as logs:
            assert asyncio.run(hasher.verify(PASSWORD, text, by="somebody")) == (False, None)
        hasher.close()
        assert verified == [(PASSWORD, dummy)]
        assert [entry["event"] for entry in logs] == ["password_hash_not_supported"]
        assert not text or text not in str(logs)


class TestLanes:
    """AU22: which work waits where: a sign-in waits for other sign-ins alone."""

    @pytest.mark.parametrize(
        ("stored", "used"),
        [
            (None, ["sign_in"]),
            ("no password has this hash", ["sign_in"]),
            (PASSWORD_CONTEXT.hash(PASSWORD), ["sign_in"]),
            (MAKERS["bcrypt 2b"].hash(PASSWORD), ["sign_in", "new"]),
            (argon2.using(type="ID", memory_cost=512, time_cost=300, parallelism=1).hash(PASSWORD), ["dear", "new"]),
        ],
        ids=["none", "no hash", "ours", "bcrypt", "dear"],
    )
    def test_of_verifications(self, monkeypatch: pytest.MonkeyPatch, stored: str | None, used: list[str]) -> None:
        hasher = Hasher(threads=1)
        asyncio.run(hasher.verify(PASSWORD, None, by="somebody"))
        names = lanes_used(monkeypatch)
        asyncio.run(hasher.verify(PASSWORD, stored, by="somebody"))
        hasher.close()
        assert names == used

    def test_of_new_passwords(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hasher, names = Hasher(threads=1), lanes_used(monkeypatch)
        asyncio.run(hasher.hash(PASSWORD, by="somebody", min_length=8))
        asyncio.run(hasher.hash_again("weak", by="somebody"))
        hasher.close()
        assert names == ["judge", "new", "new"]

    def test_a_weak_password_is_never_hashed(self, hashing: CountingContext) -> None:
        hasher = Hasher(threads=1)
        hashed = hashing.hashed
        with pytest.raises(WeakPassword):
            asyncio.run(hasher.hash("password1234", by="somebody", min_length=8))
        hasher.close()
        assert hashing.hashed == hashed

    def test_a_sign_in_succeeds_where_its_new_hash_finds_no_place(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AU6: the next one replaces the hash."""
        old = MAKERS["bcrypt 2b"].hash(PASSWORD)
        email = imported(service, old)
        with monkeypatch.context() as patch:
            patch.setattr(service.runtime.hasher, "hash_again", overloaded)
            assert service.log_in(email).status_code == 200
        assert service.sql(STORED, email=email) == [(old,)]
        assert service.log_in(email).status_code == 200
        assert service.sql(STORED, email=email) != [(old,)]


async def overloaded(_password: str, *, by: str) -> str:
    raise Overloaded(retry_after=5)


def lanes_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads to which work is given from now on."""
    names: list[str] = []
    submit = ThreadPoolExecutor.submit

    def note(pool: ThreadPoolExecutor, *args: object) -> object:
        names.append(pool._thread_name_prefix)
        return submit(pool, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", note)
    return names


class TestWhatIsJudged:
    """AU22: zxcvbn is given as much of a password as it can judge in a few milliseconds."""

    @pytest.fixture
    def judged(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What zxcvbn is given. It judges none of it here, so that no input of these tests is a load."""
        given: list[str] = []

        def judge(text: str, **_words: object) -> dict[str, object]:
            given.append(text)
            return {"guesses": 10**9}

        monkeypatch.setattr(password_strength, "zxcvbn", judge)
        return given

    @pytest.mark.parametrize(
        "password",
        ["violet tractor moonlight", "correct horse battery staple", "жёлтый трактор над рекой", "tr0ub4dor&3 again"],
    )
    def test_is_all_of_an_ordinary_one(self, judged: list[str], password: str) -> None:
        check_strength(password, min_length=8)
        assert judged == [password]

    @pytest.mark.slow("each of its examples is judged whole")
    @given(st.text(min_size=8, max_size=80) | st.text(alphabet="".join(LETTERS_OF), min_size=8, max_size=16))
    def test_takes_a_bounded_number_of_look_ups(self, password: str) -> None:
        """By zxcvbn's own list of the ways to read a text."""
        scored = _scored(password)
        readings = [way for way in enumerate_l33t_subs(relevant_l33t_subtable(scored, L33T_TABLE)) if way]
        parts = len(scored) * (len(scored) + 1) / 2
        assert password.startswith(scored)
        assert (2 + len(readings)) * parts <= MOST_LOOK_UPS

    @given(st.text(alphabet="".join(LETTERS_OF) + "abc", min_size=1, max_size=12))
    def test_is_counted_as_zxcvbn_lists_it(self, text: str) -> None:
        listed = enumerate_l33t_subs(relevant_l33t_subtable(text, L33T_TABLE))
        assert _readings(text) == len(listed)

    @pytest.mark.parametrize("text", ["".join(LETTERS_OF)[:16], "0123456789" * 4, "abc" * 20, "é" * 40, "a1b2" * 20])
    def test_is_enough_to_call_random_ones_strong(self, text: str) -> None:
        """What is left of one that is cut is long enough for 10^8 guesses."""
        scored = _scored(text)
        assert len(scored) < len(text)
        assert 10 ** len(scored) >= LEAST_GUESSES


class TestContextWords:
    @pytest.mark.parametrize(
        "password", ["pemberley1813", "1813-Pemberley!", "bennet.pemberley", "BENNET_1813", "bennet-1813?"]
    )
    def test_parts_of_an_address_are_words(self, password: str) -> None:
        """AU4: whatever joins them: a dot, an underscore, a hyphen or a plus."""
        for email in ("bennet_pemberley@example.org", "bennet-pemberley@example.org", "bennet+pemberley@example.org"):
            with pytest.raises(WeakPassword):
                check_strength(password, min_length=8, context=(email,))

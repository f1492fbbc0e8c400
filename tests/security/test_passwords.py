"""Passwords: which are taken, how they are stored, and that no character of them is lost."""

from collections.abc import Callable

import pytest
from httpx2 import Response
from passlib.hash import argon2

from app.accounts import passwords
from app.crypto import password_hashes
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, row_counts
from tests.support.service import PASSWORD, Service

STRONG = "k7vq-Zw3 mxtr-b9fy"
PHRASE = "copper lantern drifts over quiet moss "
"""38 characters that no list has; enough of them make any length."""


def of_length(length: int) -> str:
    """A strong password of so many code points."""
    return (PHRASE * (length // len(PHRASE) + 1))[: length - 1] + "x"


def reason(answer: Response) -> str:
    assert_problem(answer, 422, "weak_password")
    (error,) = answer.json()["errors"]
    assert error["location"] == "body.password"
    assert error["message"]
    return str(error["code"])


@pytest.fixture
def strict(make_on_sqlite: Callable[..., Service]) -> Service:
    return make_on_sqlite(password_min_length=15)


class TestLength:
    def test_the_least_is_eight_code_points(self, shared: Service) -> None:
        """AU1: seven are too short; eight pass where zxcvbn finds no pattern in them."""
        assert reason(shared.register(password="kV7#qz9")) == "too_short"
        assert shared.register(password="kV7#qz9W").status_code == 201
        assert reason(shared.register(password="may2024x")) == "too_guessable"

    def test_the_operator_may_ask_for_fifteen(self, strict: Service) -> None:
        """AU1: PASSWORD_MIN_LENGTH (SP 800-63B-4 §3.1.1.2): one short is refused, exactly as many pass."""
        assert reason(strict.register(password=of_length(14))) == "too_short"
        assert strict.register(password=of_length(15)).status_code == 201

    def test_an_emoji_counts_as_one(self, strict: Service) -> None:
        """AU1: code points are counted, neither bytes nor UTF-16 units."""
        assert reason(strict.register(password="🦔🌋🪐🧭kV7#qz9Wxj")) == "too_short"
        assert strict.register(password="🦔🌋🪐🧭kV7#qz9Wxjm").status_code == 201

    def test_a_composed_letter_counts_as_one(self, strict: Service) -> None:
        """AU1: however the keyboard spells it; and both spellings sign in."""
        assert reason(strict.register(password="kV7#qz9Wxjmpqe\u0301")) == "too_short"
        assert strict.register("accent@example.org", "kV7#qz9Wxjmpqfé").status_code == 201
        assert strict.log_in("accent@example.org", "kV7#qz9Wxjmpqfe\u0301").status_code == 200

    @pytest.mark.parametrize("length", [64, 72, 73, 128, 1024])
    def test_long_ones_are_kept_whole(self, shared: Service, length: int) -> None:
        """AU2: one character more, fewer or other is another password: no 72-byte truncation."""
        email, password = f"long{length}@example.org", of_length(length)
        assert shared.register(email, password).status_code == 201
        assert shared.log_in(email, password).status_code == 200
        for wrong in (password[:-1], password[:-1] + "y", password + "x" * (length < 1024)):
            if wrong != password:
                assert_problem(shared.log_in(email, wrong), 401, "invalid_login")

    @pytest.mark.parametrize("length", [1025, 4097, 60_000])
    def test_above_the_maximum_nothing_is_hashed(self, shared: Service, hashing: CountingContext, length: int) -> None:
        """AU2: refused before it costs anything, when registering and when signing in."""
        for answer in (shared.register(password="x" * length), shared.log_in("a@example.org", "x" * length)):
            assert_problem(answer, 422, "invalid_request")
        assert (hashing.hashed, hashing.verified) == (0, [])

    def test_nothing_is_trimmed_or_folded(self, shared: Service) -> None:
        """AU2: spaces at the ends, case and compatibility forms all matter."""
        assert shared.register("exact@example.org", f" {STRONG} ").status_code == 201
        for wrong in (STRONG, f" {STRONG}", f" {STRONG.upper()} ", f" {STRONG.replace('3', '３')} "):
            assert_problem(shared.log_in("exact@example.org", wrong), 401, "invalid_login")
        assert shared.log_in("exact@example.org", f" {STRONG} ").status_code == 200


class TestComposition:
    @pytest.mark.parametrize(
        "password",
        [
            "7391 0482 6571 9930 18",
            "violet tractor moonlight",
            "correct gravel harmonica stapler",
            "жёлтый трактор над рекой",
            "紫色拖拉机在月光下行驶",
            "７３９１０４８２６５-tmqv",
            "!?)(#+*~ ;:_=",
        ],
    )
    def test_no_kind_of_character_is_asked_for(self, shared: Service, password: str) -> None:
        """AU3: lower-case phrases with spaces, other scripts, symbols alone; the user signs in with it."""
        email = f"compose{abs(hash(password))}@example.org"
        assert shared.register(email, password).status_code == 201
        assert shared.log_in(email, password).status_code == 200

    def test_a_password_does_not_expire(self, service: Service) -> None:
        """AU3: ten years later it still signs in."""
        email = service.device().email
        service.clock.advance(days=3650)
        assert service.log_in(email).status_code == 200


class TestBlocklist:
    @pytest.mark.parametrize(
        "password",
        ["1234567890123456", "password", "passwordpassword1", "PassWord123!", "aaaaaaaaaaaaaaaa", "qwertyuiop",
         "ｐａｓｓｗｏｒｄ", "letmein!!", "9876543210", "iloveyouiloveyou"],
    )  # fmt: skip
    def test_common_ones_are_refused(self, shared: Service, password: str) -> None:
        """AU4: what attackers try first, also doubled, numbered and in full-width letters; the reason is named."""
        before = row_counts(shared)
        assert reason(shared.register(password=password)) in ("too_common", "too_guessable")
        assert row_counts(shared) == before

    @pytest.mark.parametrize(
        "password",
        ["rosalind.franklin@example.org", "rosalindfranklin", "Rosalind1234", "franklin-2026", "ROSALIND.franklin",
         "tokenvend", "TokenVend2026", "mytokenvend!", "crystallographer", "Crystallographer1"],
    )  # fmt: skip
    def test_words_about_the_user_or_the_service_are_refused(self, shared: Service, password: str) -> None:
        """AU4: own address, own name, name of the service."""
        answer = shared.register("rosalind.franklin@example.org", password, display_name="Crystallographer")
        assert reason(answer) in ("too_personal", "too_guessable")

    def test_the_same_words_in_a_long_phrase_pass(self, shared: Service) -> None:
        """AU4: the rule is about what is left without them."""
        answer = shared.register("rosalind.f@example.org", "rosalind paints seven copper lanterns")
        assert answer.status_code == 201


class TestStorage:
    def test_it_is_argon2id_of_at_least_owasps_cost(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """AU6: m >= 19,456 KiB, t >= 2, p = 1, a salt of its own for each user."""
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
        for email in ("one@example.org", "two@example.org"):
            assert service.register(email).status_code == 201
        hashes = [row[0] for row in service.sql("SELECT password_hash FROM users")]
        parsed = [argon2.from_string(text) for text in hashes]
        for one in parsed:
            assert one.type == "id"
            assert (one.memory_cost >= 19456, one.rounds >= 2, one.parallelism) == (True, True, 1)
            assert isinstance(one.salt, bytes)
            assert len(one.salt) >= 16
        assert parsed[0].salt != parsed[1].salt

    def test_an_older_hash_is_upgraded_at_sign_in(self, service: Service) -> None:
        """AU6: one of 64 KiB and one round, by the right password alone, and only once."""
        email = service.device().email
        old = CountingContext().hash(PASSWORD)
        service.sql("UPDATE users SET password_hash = :old WHERE email = :email", old=old, email=email)
        stored = "SELECT password_hash FROM users WHERE email = :email"
        assert service.log_in(email, "not the password").status_code == 401
        assert service.sql(stored, email=email) == [(old,)]
        assert service.log_in(email).status_code == 200
        ((upgraded,),) = service.sql(stored, email=email)
        assert argon2.from_string(upgraded).memory_cost >= 19456
        assert service.log_in(email).status_code == 200
        assert service.sql(stored, email=email) == [(upgraded,)]


class TestDefaultAccounts:
    @pytest.mark.parametrize("password", ["admin", "password", "tokenvend", "changeme", ""])
    def test_there_are_none(self, shared: Service, password: str) -> None:
        """AU10: nobody is signed in whom nobody registered."""
        for email in ("admin", "root", "admin@localhost", "admin@example.org", "admin@testserver", "tokenvend"):
            assert_problem(shared.log_in(email, password), 401, "invalid_login")

    def test_an_empty_database_has_no_user(self, service: Service) -> None:
        """AU10: migrations and start-up make keys, not accounts."""
        assert service.client.get("/readyz").status_code == 200
        assert service.sql("SELECT count(*) FROM users") == [(0,)]
        assert service.sql("SELECT count(*) FROM signing_keys") == [(1,)]

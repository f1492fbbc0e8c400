"""Which spellings of a password are tried against a hash of another system, how many, and what waits meanwhile."""

import asyncio
import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import argon2, bcrypt, pbkdf2_sha512, phpass, scrypt

from app.accounts import passwords
from app.accounts.passwords import Hasher
from app.crypto.password_hashes import HIGHEST_PRICE, IMPORTED, PASSWORD_CONTEXT, hash_price
from app.platform.limits import Limiter, LimitName
from tests.accounts.test_strength import imported
from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem
from tests.support.service import PASSWORD, Service

DECOMPOSED = "cre\u0300me bru\u0302le\u0301e \ufb01n"
"""As Firefox on macOS sends it, with a letter that NFKC divides: three spellings."""
SALT, DIGEST = "jVHq/Z8TwlhL6b0X4txbKw", "yslhUMjjwYG4PDWmaO0cLRg3ZKh9OzDQDJgxAnNzN4c"
DRUPAL = "$S$5vIoLeT121clzI1zUDhDHMpb0VQCx4Bi6cwno1r4WAZQk2p0zhLZ"
BCRYPT = "g1WE.zYkpRGnhRPpTh3w6O1HziA7fFyJ3iyuhcHSG1PnudDdLqmDW"
AT_THE_BOUND = {
    "bcrypt": f"$2b$14${BCRYPT}",
    "argon2": f"{IMPORTED}$argon2id$v=19$m=262144,t=3,p=1${SALT}${DIGEST}",
    "scrypt": f"$scrypt$ln=17,r=8,p=2${SALT}${DIGEST}",
    "PBKDF2-SHA512": f"$pbkdf2-sha512$i=1100000,l=32${SALT}${DIGEST}",
    "Drupal": f"$S$H{DRUPAL[4:]}",
    "Meteor": f"$prehash=meteor$2b$14${BCRYPT}",
}
"""What is as dear as an import takes."""


class Noting(CountingContext):
    """Notes what it is asked, and finds each password wrong. It computes nothing."""

    def verify(self, *args: Any, **_kwargs: Any) -> bool:
        self.verified.append(args[0])
        return False

    def needs_update(self, *args: Any, **_kwargs: Any) -> bool:
        return PASSWORD_CONTEXT.needs_update(args[0])


def tried(monkeypatch: pytest.MonkeyPatch, password: str, stored: str) -> Sequence[str]:
    hasher, noting = Hasher(threads=1), Noting()
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", noting)
    assert asyncio.run(hasher.verify(password, stored, by="somebody")) == (False, None)
    hasher.close()
    return noting.verified


class TestSpellings:
    def test_come_in_one_order_and_equal_ones_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """AU2"""
        cheap = bcrypt.using(rounds=4).hash("x")
        nfc, nfkc = (unicodedata.normalize(form, DECOMPOSED) for form in ("NFC", "NFKC"))
        assert tried(monkeypatch, DECOMPOSED, cheap) == [DECOMPOSED, nfc, nfkc]
        assert tried(monkeypatch, nfc, cheap) == [nfc, DECOMPOSED, nfkc]
        assert tried(monkeypatch, PASSWORD, cheap) == [PASSWORD]
        assert tried(monkeypatch, f" {PASSWORD} ", cheap) == [f" {PASSWORD} "]

    def test_of_our_own_hash_are_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours = PASSWORD_CONTEXT.hash("x")
        assert tried(monkeypatch, DECOMPOSED, ours) == [unicodedata.normalize("NFC", DECOMPOSED)]

    @pytest.mark.parametrize(
        "stored",
        [f"$wp$2y$04${BCRYPT}", phpass.using(rounds=7).hash("x"), DRUPAL, f"U{DRUPAL}"],
        ids=["WordPress", "phpass", "Drupal", "Drupal 6"],
    )
    def test_are_trimmed_where_the_other_system_did(self, monkeypatch: pytest.MonkeyPatch, stored: str) -> None:
        """AU2"""
        assert tried(monkeypatch, f" {PASSWORD}\t\n", stored) == [PASSWORD, f" {PASSWORD}\t\n"]
        assert tried(monkeypatch, PASSWORD, stored) == [PASSWORD]
        assert tried(monkeypatch, "  ", stored) == ["  "]

    @pytest.mark.parametrize("kind", AT_THE_BOUND)
    @pytest.mark.parametrize("password", [DECOMPOSED, f" {DECOMPOSED} "])
    def test_of_the_dearest_hashes_take_about_a_second_together(
        self, monkeypatch: pytest.MonkeyPatch, kind: str, password: str
    ) -> None:
        """AU22: as many as fit, and one at least, which is what was typed: no other is likelier.

        What is a little dearer is refused at import.
        """
        stored = AT_THE_BOUND[kind]
        price = hash_price(stored.removeprefix(IMPORTED).removeprefix("$prehash=meteor"))
        assert HIGHEST_PRICE / 2 < price <= HIGHEST_PRICE
        (only,) = tried(monkeypatch, password, stored)
        if kind == "Meteor":
            assert only == hashlib.sha256(password.encode()).hexdigest()
        else:
            assert only == (password.strip() if kind == "Drupal" else password)

    @given(st.text(max_size=40), st.sampled_from([4, 8, 10, 11, 12, 13]))
    def test_never_take_longer_together(self, password: str, cost: int) -> None:
        """AU22"""
        for stored in (f"$2b${cost:02}${BCRYPT}", f"$wp$2y${cost:02}${BCRYPT}"):
            with pytest.MonkeyPatch.context() as patch:
                made = tried(patch, password, stored)
            assert 1 <= len(made) == len(set(made))
            assert len(made) * hash_price(stored) <= HIGHEST_PRICE

    def test_are_one_guess(self, make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
        """AU7: however many are tried."""
        service, hits, hit = make_service(rate_limits="on"), list[LimitName](), Limiter.hit

        async def note(limiter: Limiter, name: LimitName, key: str) -> None:
            hits.append(name)
            await hit(limiter, name, key)

        email = imported(service, bcrypt.using(rounds=4).hash(PASSWORD))
        monkeypatch.setattr(Limiter, "hit", note)
        for wrong in ("another password", DECOMPOSED):
            hits.clear()
            assert_problem(service.log_in(email, wrong), 401, "invalid_login")
            assert hits.count("guess") == 1


class TestReadAtLast:
    @pytest.mark.parametrize(
        ("stored", "hashed"),
        [
            ("our own parameters", argon2.using(type="ID", memory_cost=19456, time_cost=2, parallelism=1)),
            ("scrypt", scrypt.using(rounds=4)),
            ("PBKDF2", pbkdf2_sha512.using(rounds=10)),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    @pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
    def test_a_password_of_another_keyboard_signs_in(
        self, service: Service, stored: str, hashed: type[argon2], form: str
    ) -> None:
        """AU2: also where the hash has our own parameters, as libraries have them by default."""
        made = hashed.hash(unicodedata.normalize(form, DECOMPOSED))  # type: ignore[arg-type]
        email = imported(service, f"{IMPORTED}{made}" if stored.startswith("our") else made)
        assert service.log_in(email, DECOMPOSED).status_code == 200
        assert service.log_in(email, unicodedata.normalize("NFC", DECOMPOSED)).status_code == 200

    @pytest.mark.parametrize("typed", [PASSWORD, f" {PASSWORD}", f"{PASSWORD}\r\n"])
    def test_a_trimmed_one_signs_in_as_it_is_typed(self, service: Service, typed: str) -> None:
        email = imported(service, phpass.using(rounds=7).hash(PASSWORD))
        assert service.log_in(email, typed).status_code == 200
        assert service.log_in(email, typed).status_code == 200

    def test_drupals_hash_of_a_hash_signs_in(self, service: Service) -> None:
        md5 = hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest()
        email = imported(service, f"U{phpass.using(rounds=7).hash(md5)}")
        assert_problem(service.log_in(email, md5), 401, "invalid_login")
        assert service.log_in(email).status_code == 200


class TestTurns:
    def test_of_dear_ones_hold_up_no_other_sign_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """AU22: eight wrong passwords of users from elsewhere, and then four of ours: ours are done first, but for one.

        By the order in which they end, each really computed.
        """
        monkeypatch.setattr(passwords, "PATIENCE", 60.0)  # on a machine that is busy with something else
        dear = f"{IMPORTED}$argon2id$v=19$m=16384,t=10,p=1${SALT}${DIGEST}"
        ours = PASSWORD_CONTEXT.hash(PASSWORD)
        hasher, ended = Hasher(threads=2), list[str]()

        async def sign_in(name: str, number: int, stored: str | None) -> None:
            await hasher.verify(f"wrong {number}", stored, by=f"{name} {number}")
            ended.append(name)

        async def all_at_once() -> None:
            await sign_in("nobody", 0, None)
            crowd = [sign_in("dear", number, dear) for number in range(8)]
            await asyncio.gather(*crowd, *(sign_in("ours", number, ours) for number in range(4)))

        asyncio.run(all_at_once())
        hasher.close()
        assert sorted(ended) == ["dear"] * 8 + ["nobody"] + ["ours"] * 4
        last_of_ours = max(place for place, name in enumerate(ended) if name == "ours")
        assert ended[:last_of_ours].count("dear") <= 1

"""Hashes of something made of the password: signed in to, with a key that only the vault reads."""

import base64
import hashlib
import hmac
from typing import get_args

import pytest
from passlib.hash import argon2, bcrypt
from sqlalchemy.orm import Session

from app.accounts import prehash_keys
from app.crypto import hash_costs
from app.crypto.password_hashes import (
    KEY_ELSEWHERE,
    MOST_STORED,
    UNKNOWN,
    UnusableHash,
    marked,
    stored_spelling,
)
from app.crypto.prehashes import ANY_KEY, KEYED, Prehash, PrehashKind, divided
from tests.accounts.test_strength import STORED, imported
from tests.security.observed import assert_problem
from tests.support.logged import capture_logs
from tests.support.service import PASSWORD, Service

KEY = "a pepper, é, of 40 characters or so: 123"
MADE = {
    "meteor": hashlib.sha256(PASSWORD.encode()).hexdigest(),
    "flask-security": base64.b64encode(hmac.digest(KEY.encode(), PASSWORD.encode(), "sha512")).decode(),
    "devise": PASSWORD + KEY,
}
CHEAP = {
    "bcrypt": bcrypt.using(rounds=4),
    "argon2": argon2.using(type="ID", memory_cost=64, time_cost=1, parallelism=1),
}
BY_THEMSELVES = {
    "meteor": ("", "$2b$04$PPMhFVzYOMf0n6/OavhDZOXhRNAbN1l2RBSJnc.mqxH06GuAX8o1S"),
    "flask-security": ("a salt of Flask's", "$2b$04$BO6PbgtfwGNkU.iRSrbX5O0nUVy9fHFhE57j74vk7c9Oh9Zzdb.BW"),
    "devise": ("a pepper of Devise's", "$2a$04$uqWkgheoCwl6h46ctukrR.nfErY1v/N29mEXx9rjCvbRLSg/8jMgK"),
}
"""Key and hash of `violet tractor é`, by Flask-Security-Too 5.9.2, Devise 4.8.1, and bcrypt 6.0 as Meteor calls it."""
OF_BCRYPT = "$2b$04$GEUgxyEywu1csJNMeE5Xo.ONxvFvmxD9yyCFYuZ5J49tfpgkcewJa"


def keep(service: Service, key: str = KEY) -> str:
    platform = service.runtime.platform
    return platform.database.run("write", prehash_keys.keep, platform.vault, platform.clock.now(), key.encode())


def mark(service: Service, kind: PrehashKind) -> Prehash:
    return Prehash(kind, keep(service) if kind in KEYED else "")


def hashed(kind: str, made: str) -> str:
    return str(CHEAP[kind].hash(made.encode()[:72] if kind == "bcrypt" else made))


class TestSignIn:
    @pytest.mark.parametrize("scheme", CHEAP)
    @pytest.mark.parametrize("kind", get_args(PrehashKind))
    def test_by_the_password_alone_makes_the_hash_ours(self, service: Service, kind: PrehashKind, scheme: str) -> None:
        """AU6, AU2"""
        old = f"{mark(service, kind)}{hashed(scheme, MADE[kind])}"
        email = imported(service, old)
        for wrong in (PASSWORD + "x", MADE[kind], PASSWORD[:-1]):
            assert_problem(service.log_in(email, wrong), 401, "invalid_login")
        assert service.sql(STORED, email=email) == [(old,)]
        assert service.log_in(email).status_code == 200
        ((new,),) = service.sql(STORED, email=email)
        assert new.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert service.log_in(email).status_code == 200

    @pytest.mark.parametrize("kind", get_args(PrehashKind))
    def test_takes_what_the_system_itself_made(self, service: Service, kind: PrehashKind) -> None:
        """AU6"""
        key, made = BY_THEMSELVES[kind]
        email = imported(service, f"{Prehash(kind, keep(service, key) if key else '')}{made}")
        assert_problem(service.log_in(email, "violet tractor e"), 401, "invalid_login")
        assert service.log_in(email, "violet tractor é").status_code == 200

    @pytest.mark.parametrize("kind", sorted(KEYED))
    def test_without_the_key_opens_nothing(self, service: Service, kind: PrehashKind) -> None:
        """AU9: a dummy is verified, and the operator is told."""
        email = imported(service, f"{Prehash(kind, ANY_KEY)}{hashed('bcrypt', MADE[kind])}")
        with capture_logs() as logs:
            assert_problem(service.log_in(email), 401, "invalid_login")
        assert [entry["event"] for entry in logs if entry["event"] != "request"] == ["password_hash_not_supported"]

    def test_with_a_key_that_the_secret_key_does_not_open_opens_nothing(self, service: Service) -> None:
        email = imported(service, f"{mark(service, 'devise')}{hashed('argon2', MADE['devise'])}")
        service.sql("UPDATE prehash_keys SET key_encrypted = :sealed", sealed=b"of another secret key, or changed")
        assert_problem(service.log_in(email), 401, "invalid_login")

    def test_takes_what_flask_security_normalized(self, service: Service) -> None:
        """It hashes NFKD, in which `ﬁ` is two letters and `é` too."""
        typed, stored = "violet tractor ﬁné", "violet tractor fine\u0301"
        made = base64.b64encode(hmac.digest(KEY.encode(), stored.encode(), "sha512")).decode()
        email = imported(service, f"{mark(service, 'flask-security')}{hashed('argon2', made)}")
        assert service.log_in(email, typed).status_code == 200


class TestKeys:
    def test_are_stored_encrypted_and_once(self, service: Service) -> None:
        """AU12"""
        first, second = keep(service), keep(service, "another")
        assert (keep(service), keep(service, "another")) == (first, second)
        rows = service.sql("SELECT id, key_encrypted FROM prehash_keys")
        assert {row[0] for row in rows} == {first, second}
        assert not any(KEY.encode() in row[1] or b"another" in row[1] for row in rows)

    def test_are_read_once(self, service: Service) -> None:
        platform = service.runtime.platform
        keys, key_id = prehash_keys.PrehashKeys(platform.database, platform.vault), keep(service)
        assert service.client.portal is not None
        assert service.client.portal.call(keys.find, key_id) == KEY.encode()
        service.sql("DELETE FROM prehash_keys")
        assert service.client.portal.call(keys.find, key_id) == KEY.encode()
        assert service.client.portal.call(keys.find, ANY_KEY) is None

    def test_one_that_no_key_opens_is_no_hindrance(self, service: Service) -> None:
        """Of a secret key that was lost: the next import keeps its own key."""
        lost = keep(service)
        service.sql("UPDATE prehash_keys SET key_encrypted = :sealed", sealed=b"lost")
        assert keep(service) != lost


class TestMarks:
    @pytest.mark.parametrize(
        "prehash", [Prehash("meteor"), Prehash("devise", "1f0c2a9b"), Prehash("flask-security", ANY_KEY)]
    )
    def test_are_read_as_they_are_written(self, prehash: Prehash) -> None:
        assert divided(f"{prehash}{OF_BCRYPT}") == (prehash, OF_BCRYPT)
        assert stored_spelling(f"{prehash}{OF_BCRYPT}") == f"{prehash}{OF_BCRYPT}"

    @pytest.mark.parametrize(
        "text",
        [
            f"$prehash=meteor,1f0c2a9b{OF_BCRYPT}",
            f"$prehash=devise{OF_BCRYPT}",
            f"$prehash=devise,1F0C2A9B{OF_BCRYPT}",
            f"$prehash=devise,1f0c2a9{OF_BCRYPT}",
            f"$prehash=drupal{OF_BCRYPT}",
            f"$prehash=meteor$prehash=meteor{OF_BCRYPT}",
            "$prehash=meteor$imported$argon2id$v=19$m=64,t=1,p=1$dWlXU0JoRmhQZkx6STBsM01haDRmQw$tLevh7xg",
            "$prehash=meteor$P$51vZgTAfNc8A9RpXIJSoFRzL.w8JjQ.",
            "$prehash=meteor$2b$15$GEUgxyEywu1csJNMeE5Xo.ONxvFvmxD9yyCFYuZ5J49tfpgkcewJa",
            "$prehash=meteor",
            f"$prehash=meteor$pbkdf2-sha512$1000${'A' * 140}${'A' * 86}",  # would not fit the column
        ],
    )
    def test_of_another_form_are_none(self, text: str) -> None:
        with pytest.raises(UnusableHash):
            stored_spelling(text)

    @pytest.mark.parametrize("own", [True, False], ids=["own export", "a file of another system"])
    def test_of_an_own_export_need_their_key_again(self, own: bool) -> None:
        here, there = Prehash("devise", "1f0c2a9b"), Prehash("devise", "00c0ffee")
        assert marked(f"{there}{OF_BCRYPT}", here, is_own_export=own) == f"{here}{OF_BCRYPT}"
        for given in (None, Prehash("meteor"), Prehash("flask-security", "1f0c2a9b")):
            with pytest.raises(UnusableHash, match=KEY_ELSEWHERE):
                marked(f"{there}{OF_BCRYPT}", given, is_own_export=own)
        without = f"$prehash=meteor{OF_BCRYPT}"
        assert marked(without, None, is_own_export=own) == marked(without, here, is_own_export=own) == without

    def test_are_put_before_hashes_of_other_systems_alone(self) -> None:
        given = Prehash("devise", "1f0c2a9b")
        assert marked(OF_BCRYPT, given, is_own_export=False) == f"{given}{OF_BCRYPT}"
        assert marked(OF_BCRYPT, given, is_own_export=True) == OF_BCRYPT
        for text in ("$firebase-scrypt$c2FsdA==$x", "$wp$2y$04$x", "U$S$x", "$imported$argon2id$x", "{SSHA}x"):
            with pytest.raises(UnusableHash, match=UNKNOWN):
                marked(text, given, is_own_export=False)
        with pytest.raises(UnusableHash):
            marked(f"$pbkdf2-sha512${'A' * (MOST_STORED - 20)}", given, is_own_export=False)


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (f"$prehash=meteor{OF_BCRYPT}", "bcrypt"),
        (f"{Prehash('devise', ANY_KEY)}{CHEAP['argon2'].hash('x')}", "argon2id"),
        ("$pbkdf2-sha384$i=1000,l=16$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg", "pbkdf2_sha384"),
        ("$S$5vIoLeT121clzI1zUDhDHMpb0VQCx4Bi6cwno1r4WAZQk2p0zhLZ", "drupal"),
        ("U$S$5vIoLeT12bRQvUpghHg.NVT78ioEWwqalN38qSbab/cyloKLPqsX", "drupal"),
        ("U$P$5vIoLeT12hFfAdhQQ3AuS869V280pn/", "phpass"),
    ],
)
def test_a_report_counts_them_by_the_hash_alone(stored: str, kind: str) -> None:
    measured = hash_costs.measure(stored, None)
    assert measured is not None
    assert (measured[0], 0 < measured[1] < 1) == (kind, True)


@pytest.mark.both_databases
def test_a_key_is_found_by_another_process(service: Service) -> None:
    platform, key_id = service.runtime.platform, keep(service)
    with Session(platform.database.engine) as session:
        assert prehash_keys._find(session, platform.vault, key_id) == KEY.encode()
        assert prehash_keys._find(session, platform.vault, ANY_KEY) is None

"""What verifying a stored hash takes is known before it is done; what takes too much is refused with its reason."""

import base64
import contextlib
import re
import warnings

import passlib.hash as hash_kinds
import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import argon2, bcrypt, pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512, scrypt, sha512_crypt

from app.crypto.password_hashes import (
    HIGHEST_PRICE,
    LONGEST_FOR_OLD,
    PASSWORD_CONTEXT,
    TOO_MANY_LANES,
    TOO_MUCH_MEMORY,
    UNKNOWN,
    FirebaseScrypt,
    UnusableHash,
    firebase_hash,
    hash_price,
    parsed_price,
    stored_spelling,
    supabase_scrypt,
)

SALT, DIGEST = "jVHq/Z8TwlhL6b0X4txbKw", "yslhUMjjwYG4PDWmaO0cLRg3ZKh9OzDQDJgxAnNzN4c"
LONG = "A" * 86
"""64 bytes."""
BCRYPT = "g1WE.zYkpRGnhRPpTh3w6O1HziA7fFyJ3iyuhcHSG1PnudDdLqmDW"
STORED_ELSEWHERE = {
    "bcrypt 10, Supabase and Auth0": f"$2b$10${BCRYPT}",
    "bcrypt 12": f"$2b$12${BCRYPT}",
    "bcrypt 13": f"$2y$13${BCRYPT}",
    "bcrypt 14": f"$2b$14${BCRYPT}",
    "PBKDF2 of Django 6": f"$pbkdf2-sha256$1500000${SALT}${DIGEST}",
    "PBKDF2 of OWASP": f"$pbkdf2-sha256$600000${SALT}${DIGEST}",
    "PBKDF2-SHA512 of Keycloak": f"$pbkdf2-sha512$210000${SALT}${LONG}",
    "scrypt of OWASP": f"$scrypt$ln=17,r=8,p=1${SALT}${DIGEST}",
    "scrypt in lanes": f"$scrypt$ln=14,r=8,p=16${SALT}${DIGEST}",
    "argon2id of Keycloak": f"$argon2id$v=19$m=7168,t=5,p=1${SALT}${DIGEST}",
    "argon2id of OWASP, 12 MiB": f"$argon2id$v=19$m=12288,t=3,p=1${SALT}${DIGEST}",
    "argon2id of OWASP, 46 MiB": f"$argon2id$v=19$m=47104,t=1,p=1${SALT}${DIGEST}",
    "argon2id of RFC 9106": f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}",
    "argon2id of Django": f"$argon2id$v=19$m=102400,t=2,p=8${SALT}${DIGEST}",
    "argon2id of 256 MiB": f"$argon2id$v=19$m=262144,t=3,p=1${SALT}${DIGEST}",
}
TOO_DEAR = [
    f"$2b$15${BCRYPT}",
    f"$scrypt$ln=14,r=8,p=64${SALT}${DIGEST}",
    f"$pbkdf2-sha256$3000000${SALT}${DIGEST}",
    f"$pbkdf2-sha512$1200000${SALT}${LONG}",
    f"$argon2id$v=19$m=65536,t=13,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=19456,t=85,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=128,t=700,p=16${SALT}${DIGEST}",
]
TOO_DEAR += [
    f"$6$rounds=900000$abcdefgh${'A' * 86}",
    f"$5$rounds=1200000$abcdefgh${'A' * 43}",
    f"$P$S{'A' * 30}",
    f"$wp$2y$15${BCRYPT}",
    f"bcrypt_sha256$$2b$15${BCRYPT}",
    f"$S$L{'a' * 8}{'A' * 43}",
    f"U$S$L{'a' * 8}{'A' * 43}",
    f"$pbkdf2-sha512$i=1200000,l=32${SALT}${DIGEST}",
]
TOO_LARGE = [
    f"$scrypt$ln=20,r=8,p=1${SALT}${DIGEST}",
    f"$scrypt$ln=10,r=99999999999,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=1048576,t=1,p=1${SALT}${DIGEST}",
]
OF_TOO_MANY_LANES = [
    f"$argon2id$v=19$m=65536,t=1,p=17${SALT}${DIGEST}",
    f"$argon2id$v=19$m=127,t=1,p=16${SALT}${DIGEST}",
]
NONE = [
    "",
    "no password has this hash",
    "plain text",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "$y$j9T$abcdefgh$yzF3ZSHyMEqn1ZzKUCIDA.yzF3ZSHyMEqn1ZzKUCIDA.yz",
    "$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e",
    "$2b$12$g1WE.zYkpRGnhRPpTh3w6O",
    "$2b$12$short",
    f"$scrypt$n=10${SALT}${DIGEST}",
    f"$scrypt$ln=10,r=8,p=1${SALT}",
    f"$scrypt$ln=99999999,r=8,p=1${SALT}${DIGEST}",
    f"$pbkdf2-sha256$x${SALT}${DIGEST}",
    f"$pbkdf2-sha256$1000${SALT}${DIGEST}$more",
    f"$argon2id$v=19$m=65536,t=3,p=4${SALT}",
    f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${'A' * 300}",
    "$argon2id$é",
]
REASONS = (
    [(text, r"Verifying .* at most 42 times is allowed\.") for text in TOO_DEAR]
    + [(text, re.escape(TOO_MUCH_MEMORY)) for text in TOO_LARGE]
    + [(text, re.escape(TOO_MANY_LANES)) for text in OF_TOO_MANY_LANES]
    + [(text, re.escape(UNKNOWN)) for text in NONE]
)


class TestPrice:
    """AU22"""

    @pytest.mark.parametrize("name", STORED_ELSEWHERE)
    def test_what_real_systems_store_is_within_it(self, name: str) -> None:
        assert 0 < hash_price(STORED_ELSEWHERE[name]) <= HIGHEST_PRICE

    def test_ours_is_one(self) -> None:
        assert hash_price(PASSWORD_CONTEXT.hash("x")) == 1

    def test_firebases_is_within_it(self) -> None:
        """With the largest parameters that the setting takes."""
        assert FirebaseScrypt(b"", b"", rounds=8, mem_cost=14).price <= HIGHEST_PRICE

    @pytest.mark.parametrize(
        ("part", "other"),
        [
            ("v=1", "v=2"),
            ("n=14", "n=0"),
            ("n=14", "n=16"),
            ("n=14", "n=99"),
            ("r=8", "r=0"),
            ("r=8", "r=99"),
            ("p=1", "p=2"),
            ("ss=Bw==", "ss=Bw="),
            ("ss=Bw==", "ss=!"),
            (",sk=", ",sk=A"),
            ("$c2FsdA==$", "$c2FsdA=$"),
            ("$c2FsdA==$", "$$"),
            ("==$c2", "==$c2FsdA==$c2"),
        ],
    )
    def test_supabases_spelling_of_firebases_has_bounds(self, part: str, other: str) -> None:
        checksum, key = ("A" * 86 + "==" for _ in range(2))
        text = f"$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk={key}$c2FsdA==${checksum}"
        assert stored_spelling(text) == text
        scrypt, stored = supabase_scrypt(text)
        assert (scrypt.salt_separator, scrypt.signer_key, stored) == (
            b"\7",
            bytes(64),
            firebase_hash("c2FsdA==", checksum),
        )
        assert stored_spelling(text.replace(",ss=Bw==", "")) == text.replace(",ss=Bw==", "")
        with pytest.raises(UnusableHash):
            stored_spelling(text.replace(part, other))

    @pytest.mark.parametrize(("text", "reason"), REASONS)
    def test_what_is_not_says_why(self, text: str, reason: str) -> None:
        with pytest.raises(UnusableHash, match=f"^{reason}$"):
            hash_price(text)

    @pytest.mark.parametrize(
        ("less", "more"),
        [
            ("m=4096,t=2,p=1", "m=8192,t=2,p=1"),
            ("m=4096,t=2,p=1", "m=4096,t=3,p=1"),
            ("m=4096,t=100,p=1", "m=4096,t=100,p=2"),
            ("m=4096,t=100,p=2", "m=4096,t=100,p=16"),
            ("m=32768,t=1,p=1", "m=32769,t=1,p=1"),
        ],
    )
    def test_memory_rounds_and_lanes_each_count(self, less: str, more: str) -> None:
        prices = [hash_price(f"$argon2id$v=19${numbers}${SALT}${DIGEST}") for numbers in (less, more)]
        assert prices[0] < prices[1]

    @pytest.mark.parametrize(
        "maker",
        [
            *(bcrypt.using(rounds=4, ident=ident) for ident in ("2a", "2b", "2y")),
            scrypt.using(rounds=4),
            *(kind.using(rounds=10) for kind in (pbkdf2_sha1, pbkdf2_sha256, pbkdf2_sha512)),
            *(argon2.using(type=kind, memory_cost=64, time_cost=1, parallelism=4) for kind in ("I", "D", "ID")),
        ],
    )
    def test_the_spelling_is_passlibs(self, maker: type[bcrypt]) -> None:
        assert hash_price(maker.hash("x")) < 1

    def test_old_kinds_take_no_password_that_would_take_long(self) -> None:
        """AU22: some hash the password again in each round, and a NUL would end it for others."""
        made = sha512_crypt.using(rounds=1000)
        assert PASSWORD_CONTEXT.verify("x" * LONGEST_FOR_OLD, made.hash("x" * LONGEST_FOR_OLD))
        longer = "x" * (LONGEST_FOR_OLD + 1)
        assert not PASSWORD_CONTEXT.verify(longer, made.hash(longer))
        assert not PASSWORD_CONTEXT.verify("violet\0", made.hash("violet"))

    @pytest.mark.parametrize("kind", ["bcrypt", "bcrypt_sha256", "django_bcrypt_sha256"])
    def test_stray_bits_at_the_ends_of_bcrypt_are_cleared(self, kind: str) -> None:
        """Some systems write them, and passlib warns of each, into the output of a command or at every sign-in."""
        clean = getattr(hash_kinds, kind).using(rounds=4, salt="." * 22).hash("violet")
        at = clean.index("." * 22) + 21
        stray = f"{clean[:at]}/{clean[at + 1 : -1]}{chr(ord(clean[-1]) + 1)}"
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert stored_spelling(stray) == clean
            assert PASSWORD_CONTEXT.verify("violet", stored_spelling(stray))
        assert warned == []

    @given(
        st.sampled_from(
            [
                *("$argon2id$v=19$m=64,t=1,p=1$", "$argon2i$v=19$m=64,t=0,p=1$", "$argon2d$v=19$m=1048576,t=1,p=1$"),
                *("$scrypt$ln=10,r=8,p=1$", "$scrypt$ln=0,r=8,p=1$", "$scrypt$ln=20,r=8,p=1$"),
                *("$pbkdf2-sha256$1000$", "$pbkdf2-sha512$3000000$", "$pbkdf2$1000$", "$pbkdf2$0$"),
            ]
        ),
        st.binary(max_size=20) | st.just(bytes(range(64))),
        st.sampled_from([0, 4, 16, 20, 31, 32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    )
    def test_it_is_known_of_a_shape(self, head: str, salt: bytes, key: bytes) -> None:
        """What is said of one hash is what passlib says of each other with as much of salt and key."""
        parts = [base64.b64encode(part).decode().rstrip("=") for part in (salt, key)]
        text = head + "$".join(parts if "pbkdf2" not in head else [part.replace("+", ".") for part in parts])
        said = []
        for price in (hash_price, parsed_price):
            try:
                said.append(str(price(text)))
            except UnusableHash as unusable:
                said.append(str(unusable))
        assert said[0] == said[1]

    @pytest.mark.parametrize("kind", ["$1$", "$5$", "$6$", "$6$rounds=9000$", "$apr1$"])
    def test_a_long_salt_alone_is_none(self, kind: str) -> None:
        """passlib would warn of it, into the output of a command."""
        with pytest.raises(UnusableHash), warnings.catch_warnings(action="error"):
            hash_price(f"{kind}{'A' * 86}")

    @given(
        st.sampled_from([*STORED_ELSEWHERE.values(), *(text for text, _ in REASONS)]),
        st.integers(0, 80),
        st.integers(0, 80),
        st.text(alphabet="$=,0129mtprlnvid./+é\0 ", max_size=8),
    )
    def test_no_text_breaks_it(self, text: str, start: int, end: int, between: str) -> None:
        with contextlib.suppress(UnusableHash):
            assert 0 < hash_price(text[:start] + between + text[end:]) <= HIGHEST_PRICE

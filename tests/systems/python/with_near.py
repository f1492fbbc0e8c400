"""Hashes by the packages that the tests of this project have, as cheap as each may be told to make them."""

import json
import sys
from importlib.metadata import version

import bcrypt
from argon2 import PasswordHasher
from passlib.hash import ldap_salted_sha512, phpass, scrypt, sha512_crypt
from werkzeug.security import generate_password_hash

given = json.load(sys.stdin)


def cut(password: str) -> str:
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()


KINDS = {
    "Werkzeug, scrypt": ("werkzeug", lambda password: generate_password_hash(password, "scrypt:1024:8:1")),
    "Werkzeug, PBKDF2": ("werkzeug", lambda password: generate_password_hash(password, "pbkdf2:sha384:1000")),
    "bcrypt": ("bcrypt", cut),
    "argon2-cffi": ("argon2-cffi", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash),
    "libpass, scrypt": ("libpass", scrypt.using(rounds=4).hash),
    "libpass, phpass": ("libpass", phpass.using(rounds=7).hash),
    "libpass, LDAP": ("libpass", ldap_salted_sha512.hash),
    "libpass, Linux": ("libpass", sha512_crypt.using(rounds=1000).hash),
}

made = [
    {
        "system": system,
        "version": version(package),
        "stored": "",
        "hashes": {name: hashed(password) for name, password in given["passwords"].items()},
    }
    for system, (package, hashed) in KINDS.items()
]
print(json.dumps(made))

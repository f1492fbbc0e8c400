"""Hashes by Django's own hashers, with their own costs."""

import json
import sys

import django
from django.conf import settings
from django.contrib.auth.hashers import get_hashers, make_password

KINDS = {
    "PBKDF2PasswordHasher": "pbkdf2_sha256$1500000$…",
    "PBKDF2SHA1PasswordHasher": "pbkdf2_sha1$1500000$…",
    "Argon2PasswordHasher": "argon2$argon2id$…",
    "BCryptSHA256PasswordHasher": "bcrypt_sha256$$2b$12$…",
    "BCryptPasswordHasher": "bcrypt$$2b$12$…",
    "ScryptPasswordHasher": "scrypt$16384$…",
}
settings.configure(PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{kind}" for kind in KINDS])

given, made = json.load(sys.stdin), []
for hasher, stored in zip(get_hashers(), KINDS.values(), strict=True):
    hashes = {}
    for name, password in given["passwords"].items():
        try:
            hashes[name] = make_password(password, hasher=hasher.algorithm)
        except ValueError:  # bcrypt 5 takes no more than 72 bytes
            hashes[name] = None
    made.append(
        {"system": f"Django, {hasher.algorithm}", "version": django.__version__, "stored": stored, "hashes": hashes}
    )
print(json.dumps(made))

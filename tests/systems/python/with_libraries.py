"""Hashes by libraries and frameworks of Python, with their own costs."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi_users.password import PasswordHelper
from flask import Flask
from flask_security import Security, SQLAlchemyUserDatastore, hash_password
from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy
from passlib import hash as passlibs
from pwdlib import PasswordHash
from pwdlib.hashers.bcrypt import BcryptHasher
from werkzeug.security import generate_password_hash

given = json.load(sys.stdin)
made: list[dict[str, Any]] = []


def add(system: str, package: str, stored: str, hashed: Callable[[str], str], prehash: str = "") -> None:
    hashes: dict[str, str | None] = {}
    for name, password in given["passwords"].items():
        try:
            hashes[name] = hashed(password)
        except ValueError:  # bcrypt 5 takes no more than 72 bytes
            hashes[name] = None
    made.append({"system": system, "version": version(package), "stored": stored, "hashes": hashes, "prehash": prehash})


def of_flask_security(**settings: object) -> Callable[[str], str]:
    """As it hashes at a sign-up: normalized first."""
    app = Flask("moving")
    app.config.update(SECRET_KEY="x", SQLALCHEMY_DATABASE_URI="sqlite://", **settings)
    database = SQLAlchemy(app)
    fsqla_v3.FsModels.set_db_info(database)
    role = type("Role", (database.Model, fsqla_v3.FsRoleMixin), {})
    user = type("User", (database.Model, fsqla_v3.FsUserMixin), {})
    security = Security(app, SQLAlchemyUserDatastore(database, user, role))

    def hashed(password: str) -> str:
        with app.app_context():
            return str(hash_password(security.password_util.normalize(password)))

    return hashed


add("Werkzeug, scrypt", "werkzeug", "scrypt:32768:8:1$…", generate_password_hash)
for digest in ("sha1", "sha256", "sha384", "sha512"):
    method = f"pbkdf2:{digest}"
    add(
        f"Werkzeug, PBKDF2-{digest.upper()}",
        "werkzeug",
        f"{method}:1000000$…",
        lambda password, method=method: generate_password_hash(password, method),
    )
for scheme, options in (
    ("argon2", {}),
    ("bcrypt", {}),
    ("pbkdf2_sha512", {"SECURITY_PASSWORD_SCHEMES": ["pbkdf2_sha512"]}),
):
    add(
        f"Flask-Security-Too, {scheme}",
        "flask-security-too",
        {"argon2": "$argon2id$…", "bcrypt": "$2b$12$…", "pbkdf2_sha512": "$pbkdf2-sha512$…"}[scheme],
        of_flask_security(SECURITY_PASSWORD_SALT=given["key"], SECURITY_PASSWORD_HASH=scheme, **options),
        prehash="flask-security",
    )
add("FastAPI Users", "fastapi-users", "$argon2id$…", PasswordHelper().hash)
add("pwdlib, argon2", "pwdlib", "$argon2id$…", PasswordHash.recommended().hash)
add("pwdlib, bcrypt", "pwdlib", "$2b$12$…", PasswordHash((BcryptHasher(),)).hash)
for kind, stored in (
    ("argon2", "$argon2id$…"),
    ("bcrypt", "$2b$12$…"),
    ("bcrypt_sha256", "$bcrypt-sha256$…"),
    ("scrypt", "$scrypt$ln=16,…"),
    ("pbkdf2_sha1", "$pbkdf2$…"),
    ("pbkdf2_sha256", "$pbkdf2-sha256$…"),
    ("pbkdf2_sha512", "$pbkdf2-sha512$…"),
    ("sha512_crypt", "$6$…"),
    ("phpass", "$P$…"),
    ("ldap_salted_sha512", "{SSHA512}…"),
    ("ldap_pbkdf2_sha256", "{PBKDF2-SHA256}…"),
    ("atlassian_pbkdf2_sha1", "{PKCS5S2}…"),
    ("grub_pbkdf2_sha512", "grub.pbkdf2.sha512.…"),
    ("fshp", "{FSHP1|…}…"),
):
    add(f"libpass, {kind}", "libpass", stored, getattr(passlibs, kind).hash)
print(json.dumps(made))

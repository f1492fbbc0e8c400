"""Clerk: the CSV that its dashboard exports, with the digests of passwords."""

import base64
import binascii
import re

from app.admin.formats.rows import ImportedUser, Record, Refused, joined, text_or_none, user

AS_STORED = frozenset(
    {
        *("argon2i", "argon2id", "bcrypt", "bcrypt_sha256_django", "pbkdf2_sha256_django"),
        *("phpass", "md5_phpass", "scrypt_werkzeug", "ldap_ssha"),
    }
)
"""Hashers whose digests are as their own systems write them."""
_PBKDF2 = re.compile(r"pbkdf2_(sha1|sha256|sha512)\$(\d{1,9})\$([^$]{1,200})\$([^$]{1,200})(?:\$\d{1,3})?")
_FIREBASE = re.compile(r"([^$]{1,100})\$([^$]{1,100})\$([^$]{1,100})\$([^$]{0,100})\$(\d{1,2})\$(\d{1,2})")


def take(record: Record) -> ImportedUser:
    email = text_or_none(record.get("primary_email_address"), "primary_email_address")
    verified = text_or_none(record.get("verified_email_addresses"), "verified_email_addresses") or ""
    return user(
        email=email,
        email_verified=email is not None and email in re.split(r"[\s,;|]+", verified),
        display_name=joined(record.get("first_name"), record.get("last_name")) or record.get("username"),
        password_hash=_hash(record),
        created_at=None,
        second_factor=text_or_none(record.get("totp_secret"), "totp_secret") is not None,
    )


def _hash(record: Record) -> str | Refused | None:
    digest = text_or_none(record.get("password_digest"), "password_digest")
    hasher = text_or_none(record.get("password_hasher"), "password_hasher") or "bcrypt"
    if digest is None or hasher in AS_STORED:
        return digest
    try:
        spelt = _respelt(hasher, digest)
    except (ValueError, binascii.Error):
        spelt = None
    # `bcrypt_peppered` looks like bcrypt, and no password would ever match it.
    return spelt or Refused("unsupported_hash", "The `password_hasher` is none that is supported.")


def _respelt(hasher: str, digest: str) -> str | None:
    """The digest in the spelling of PHC, or in Supabase's of Firebase's scrypt. Raises ValueError."""
    if hasher == "scrypt_firebase" and (match := _FIREBASE.fullmatch(digest)):
        checksum, salt, signer_key, separator, rounds, cost = match.groups()
        return f"$fbscrypt$v=1,n={cost},r={rounds},p=1,ss={separator},sk={signer_key}${salt}${checksum}"
    match = _PBKDF2.fullmatch(digest)
    if hasher == "pbkdf2_sha256" and match:  # Django's has the salt as text, Clerk's in base64
        return f"$pbkdf2-sha256$i={match[2]}${match[3]}${match[4]}"
    if hasher == "pbkdf2_sha1" and match and match[1] == "sha1" and digest.count("$") == 3:
        salt = base64.b64encode(match[3].encode()).decode()
        return f"$pbkdf2-sha1$i={match[2]}${salt}${base64.b64encode(bytes.fromhex(match[4])).decode()}"
    return None

"""Every kind of data that depends on the secret key, and what becomes of it when that key is changed.

The vault takes nothing else, so a kind that is missing here cannot be encrypted or digested. An encrypted column names
its kind in `records/models.py`, and `tokenvend keys reencrypt` finds it there. So a new kind is one line here.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, Self


@dataclass(frozen=True)
class Kind:
    purpose: str
    """The kind's own key is derived for it. It never changes."""
    what: str
    """For operators, in the plural."""

    def of(self, name: str) -> Self:
        """A kind of its own within a family, such as the tokens of one purpose."""
        return replace(self, purpose=f"{self.purpose}: {name}")


@dataclass(frozen=True)
class Sealed(Kind):
    """What is encrypted.

    `fate`: `moved` is in columns, which `keys reencrypt` encrypts with the new key. `remade` is only a copy: one that
    was made with a key which is not accepted any more is made anew.
    """

    fate: Literal["moved", "remade"] = "moved"


@dataclass(frozen=True)
class Keyed(Kind):
    """What only a keyed digest is kept of. A digest cannot be moved, for nobody knows what it was made of.

    `fate`: `expires` is accepted under a previous key until `life` is over. `kept` never expires, so `keys reencrypt`
    keeps this kind's own key, encrypted with the new secret key. `remade` as above. `derived` is stored nowhere.
    """

    fate: Literal["expires", "kept", "remade", "derived"] = "expires"
    life: timedelta = timedelta(0)


SIGNING_KEY = Sealed("signing key", "signing keys")
TOTP_SECRET = Sealed("TOTP secret", "secrets of authenticator apps")
MAIL_TOKEN = Sealed("token of a mail", "tokens of waiting mails")
PROVIDER_TOKEN = Sealed("refresh token of a provider", "authorizations at providers")
PREHASH_KEY = Sealed("prehash key", "keys of other systems' password hashes")
KEPT_KEY = Sealed("kept key", "kept keys of digests")
VENDED_CREDENTIAL = Sealed("vended credential", "shared credentials", fate="remade")

REFRESH_TOKEN = Keyed("refresh token hash", "refresh tokens", life=timedelta(days=30))
REFRESH_SUCCESSOR = Keyed("refresh token successor", "successors of refresh tokens", fate="derived")
SINGLE_USE_TOKEN = Keyed("single-use token", "links in mails and other single-use tokens", life=timedelta(days=30))
CHALLENGE_PASSWORD = Keyed("password of a challenge", "marks of waiting sign-ins", life=timedelta(minutes=5))
LINK_ADDRESS = Keyed("address of a link", "marks of confirmed links", life=timedelta(days=30))
RECOVERY_CODE = Keyed("recovery code", "recovery codes", fate="kept")
GUESSED_ACCOUNT = Keyed("guessed account", "counts of guesses and mails", life=timedelta(days=1))
MAIL_RECIPIENT = Keyed("mails to one recipient", "counts of mails to one recipient", life=timedelta(hours=1))
CREDENTIAL_ORDER = Keyed("vended credential", "names of shared credentials", fate="remade")
FINGERPRINT = Keyed("fingerprint of the secret key", "fingerprints", fate="derived")

KINDS: tuple[Kind, ...] = tuple(kind for kind in list(globals().values()) if isinstance(kind, Kind))

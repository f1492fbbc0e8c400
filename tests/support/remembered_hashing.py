"""Passwords hashed and verified for real, at their real cost, but each only once in a test process.

Nearly every account of the tests has the same password. Who asks for the hash of one gets the same hash, with the same
salt, as who asked before; what is about salts or costs looks at `app.crypto.password_hashes.PASSWORD_CONTEXT` itself.
"""

import functools

from app.crypto.password_hashes import PasswordContext


class RememberingContext(PasswordContext):
    hash = functools.cache(PasswordContext.hash)
    verify = functools.cache(PasswordContext.verify)


REMEMBERING_CONTEXT = RememberingContext()

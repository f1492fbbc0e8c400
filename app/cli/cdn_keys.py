"""`tokenvend keys … --purpose cdn`: the keys that CloudFront verifies signed URLs with."""

import sys

from app.auth import keys
from app.cli.opening import fail, print_json
from app.compose import Runtime
from app.crypto import cdn_signatures
from app.vending import cdn_keys

UPLOADED_AND_SET = "it is uploaded and TOKENVEND_CDN_KEY_PAIR_ID is its id"


def print_list(runtime: Runtime, *, as_json: bool) -> None:
    """Each key, oldest first, with the ids by which CloudFront knows it."""
    names = runtime.platform.database.run("read", cdn_keys.names)
    for_program, lines = [], []
    for key in runtime.platform.database.run("read", keys.list_keys, "cdn"):
        made, ids = f"{key.created_at:%Y-%m-%dT%H:%M:%SZ}", list(names.get(key.kid, ()))
        for_program.append({"kid": key.kid, "created_at": made, "key_pair_ids": ids})
        lines.append(f"{key.kid}  made {made}  {', '.join(ids) or 'not in use yet'}")
    if as_json:
        print_json(for_program)
    elif lines:
        print("\n".join(lines))


def print_public(runtime: Runtime, kid: str | None) -> None:
    """The public key alone goes to standard output."""
    platform = runtime.platform
    newest = platform.database.run("write", cdn_keys.ensure_newest, platform.vault, platform.clock.now())
    by_kid = {key.kid: key for key in platform.database.run("read", keys.list_keys, "cdn")}
    shown = by_kid.get(kid or newest.kid)
    if shown is None:
        fail("There is no such key: `tokenvend keys list --purpose cdn` lists them")
    ids = platform.database.run("read", cdn_keys.names).get(shown.kid, ())
    said = f"CloudFront knows it as {', '.join(ids)}" if ids else f"It signs once {UPLOADED_AND_SET}"
    print(f"Key {shown.kid}. {said}.", file=sys.stderr)
    print(cdn_signatures.public_pem(shown.public_jwk), end="")


def add(runtime: Runtime, *, although_one_waits: bool) -> None:
    platform = runtime.platform
    now = platform.clock.now()
    try:
        key = platform.database.run("write", cdn_keys.add, platform.vault, now, although_one_waits=although_one_waits)
    except cdn_keys.NewestKeyWaits:
        fail(
            "The newest key was never in use. Upload it (`tokenvend keys show --purpose cdn`) and set "
            "TOKENVEND_CDN_KEY_PAIR_ID to its id, or add another one with `--now`"
        )
    print(f"Added {key.kid}. It signs once {UPLOADED_AND_SET}.")

"""An app in Python: `python journey.py URL PHOTOGRAPH` tells what it saw as JSON."""

import asyncio
import json
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tokenvend_client import Client
from tokenvend_client.api.accounts import end_all_sessions, get_profile, register_user
from tokenvend_client.models import RegisterRequest
from tokenvend_client.token_store import Refused, SignedOut, TokenStore, expect
from tokenvend_client.vendor import Vendor

PASSWORD = "violet tractor moonlight"


def main(url: str, photograph: Path) -> None:
    email = f"{uuid.uuid4()}@example.org"
    registration = RegisterRequest(email=email, password=PASSWORD)
    public = Client(base_url=url)
    expect(register_user.sync(client=public, body=registration))
    try:
        expect(register_user.sync(client=public, body=registration))
    except Refused as refusal:
        refused = refusal.problem.code

    saved: list[str | None] = []
    store = TokenStore(url, save=saved.append)
    store.log_in(email, PASSWORD, "Ada's laptop")
    profile = expect(asyncio.run(get_profile.asyncio(client=store.client)))

    vendor = Vendor(store.client)
    s3, photos = vendor.s3(), vendor.vended
    keys = [f"{photos.prefix}{number}.jpg" for number in range(3)]
    for key in keys:
        s3.upload_file(str(photograph), photos.bucket, key)

    spent = store.access_token()
    with ThreadPoolExecutor(10) as pool:
        tokens = set(pool.map(lambda _: store.access_token(spent=spent), range(10)))

    skewed = Vendor(store.client)
    left = skewed.vended.expiration - skewed.server_time()

    other = TokenStore(url)
    other.log_in(email, PASSWORD, "Ada's other laptop")
    expect(end_all_sessions.sync(client=store.client))
    try:
        get_profile.sync(client=other.client)
        ended = False
    except SignedOut:
        ended = True
    store.log_out()
    try:
        store.access_token()
        signed_out = False
    except SignedOut:
        signed_out = True
    print(
        json.dumps(
            {
                "refused": refused,
                "email": profile.email,
                "role": profile.role,
                "keys": keys,
                "tokens": len(tokens),
                "seconds_left": left.total_seconds(),
                "ended": ended,
                "signed_out": signed_out,
                "saved": [token is not None for token in saved],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

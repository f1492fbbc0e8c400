"""An app in Python whose keys are revoked: `python revocation.py URL PHOTOGRAPH` tells what it saw as JSON."""

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import ClientError
from tokenvend_client import Client
from tokenvend_client.api.accounts import register_user
from tokenvend_client.api.credentials import revoke_credentials
from tokenvend_client.models import RegisterRequest
from tokenvend_client.token_store import TokenStore, expect
from tokenvend_client.vendor import Vendor

PASSWORD = "violet tractor moonlight"


def main(url: str, photograph: Path) -> None:
    email = f"{uuid.uuid4()}@example.org"
    expect(register_user.sync(client=Client(base_url=url), body=RegisterRequest(email=email, password=PASSWORD)))
    store = TokenStore(url)
    store.log_in(email, PASSWORD, "Ada's phone")
    vendor = Vendor(store.client)
    s3, other, photos = vendor.s3(), vendor.s3(), vendor.vended

    def put(number: int) -> str:
        key = f"{photos.prefix}{number}.jpg"
        s3.put_object(Bucket=photos.bucket, Key=key, Body=photograph.read_bytes())
        return key

    def refusal_of_head(prefix: str) -> str | None:
        try:
            other.head_object(Bucket=photos.bucket, Key=f"{prefix}0.jpg")
        except ClientError as refusal:
            return refusal.response["Error"]["Code"]
        return None

    def refusal_of_list(prefix: str) -> str | None:
        try:
            s3.list_objects_v2(Bucket=photos.bucket, Prefix=prefix)
        except ClientError as refusal:
            return refusal.response["Error"]["Code"]
        return None

    keys = [put(0)]
    expect(revoke_credentials.sync(client=store.client))
    with ThreadPoolExecutor(5) as pool:
        keys += pool.map(put, range(1, 6))
    read = [refusal_of_head(photos.prefix)]
    denied = [refusal_of_list("users/") for _ in range(3)]
    expect(revoke_credentials.sync(client=store.client))
    paused = refusal_of_list(photos.prefix)
    monotonic = time.monotonic
    time.monotonic = lambda: monotonic() + 61
    read += [refusal_of_head(photos.prefix), refusal_of_list(photos.prefix)]
    print(json.dumps({"keys": keys, "denied": denied, "paused": paused, "read": read}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""An app in Python on a device whose clock is off: `python clock.py URL PHOTOGRAPH HOURS` tells what it saw as JSON.

It uploads in parts, and its keys are over before the last one.
"""

import json
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.auth
from tokenvend_client import Client
from tokenvend_client.api.accounts import register_user
from tokenvend_client.api.credentials import revoke_credentials
from tokenvend_client.models import RegisterRequest
from tokenvend_client.token_store import TokenStore, expect
from tokenvend_client.vendor import Vendor

PASSWORD = "violet tractor moonlight"
PART = 5 * 1024 * 1024


class Clock:
    """The device's, which boto3 reads too."""

    def __init__(self, hours: float) -> None:
        self.off = timedelta(hours=hours)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off


def main(url: str, photograph: Path, hours: float) -> None:
    clock, email = Clock(hours), f"{uuid.uuid4()}@example.org"
    auth: Any = botocore.auth
    auth.get_current_datetime = lambda remove_tzinfo=True: clock.now().replace(tzinfo=None if remove_tzinfo else UTC)
    expect(register_user.sync(client=Client(base_url=url), body=RegisterRequest(email=email, password=PASSWORD)))
    store = TokenStore(url)
    store.log_in(email, PASSWORD, "Ada's phone")

    vendor = Vendor(store.client, clock=clock.now)
    s3, photos = vendor.s3(), vendor.vended
    place: Any = {"Bucket": photos.bucket, "Key": f"{photos.prefix}film.mov"}
    film = photograph.read_bytes().ljust(PART + 1000, b"x")
    upload = s3.create_multipart_upload(**place)["UploadId"]
    used, parts = [], []
    for number, data in enumerate((film[:PART], film[PART:]), 1):
        part = s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=data)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
        used.append(vendor.vended.access_key_id)
        if number == 1:
            expect(revoke_credentials.sync(client=store.client))  # so that the next ones are others
            clock.off += timedelta(minutes=6)
    done: Any = {"Parts": parts}
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=done)
    link = s3.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
    print(json.dumps({"key": place["Key"], "size": len(film), "used": used, "link": link}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))

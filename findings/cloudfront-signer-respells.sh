#!/usr/bin/env bash
# @aws-sdk/cloudfront-signer 3.1166.0 with a custom policy for a folder, beside botocore 1.44.8's CloudFrontSigner.
# Expected: a URL that is percent-encoded already comes back as it was, with a query. So it is in the folder of its policy.
# Seen: the SDK for JavaScript decodes and encodes the path anew, so `%28` comes back as `(`. The URL does not begin any more
# as the policy that it was signed with says, and AWS's pages tell of no respelling before CloudFront compares both.
# botocore leaves the URL alone. Whoever signs a folder in JavaScript appends the query to the URL by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @aws-sdk/cloudfront-signer@3.1166.0
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check botocore==1.44.8
cat >policy.json <<'JSON'
{"Statement":[{"Resource":"https://cdn.example.org/Rome%20%282026%29/*","Condition":{"DateLessThan":{"AWS:EpochTime":1795457700}}}]}
JSON
cat >sign.mjs <<'JS'
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { getSignedUrl } from "@aws-sdk/cloudfront-signer";

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const pem = privateKey.export({ type: "pkcs8", format: "pem" });
const policy = readFileSync("policy.json", "utf-8").trim();
console.log(getSignedUrl({ url: process.argv[2], policy, keyPairId: "KEXAMPLE", privateKey: pem }).split("?")[0]);
JS
cat >sign.py <<'PY'
import sys

from botocore.signers import CloudFrontSigner

policy = open("policy.json").read().strip()
print(CloudFrontSigner("KEXAMPLE", lambda message: message[:1]).generate_presigned_url(sys.argv[1], policy=policy).split("?")[0])
PY
url='https://cdn.example.org/Rome%20%282026%29/beach.jpg'
in_javascript=$(node sign.mjs "$url")
in_python=$(venv/bin/python sign.py "$url")
echo "given:      $url"
echo "JavaScript: $in_javascript"
echo "botocore:   $in_python"
[ "$in_python" = "$url" ]
[ "$in_javascript" = 'https://cdn.example.org/Rome%20(2026)/beach.jpg' ]

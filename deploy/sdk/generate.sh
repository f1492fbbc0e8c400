#!/usr/bin/env bash
# Generates the clients of openapi.json, with their helpers beside them, into the folder $1; it needs no network.
# On the PATH: openapi-generator-cli, openapi-python-client, openapi-ts, tsc, python3, java.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
document=$here/openapi.json
version=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["info"]["version"])' "$document")
mkdir -p "$1"
cd "$1"
rm -rf kotlin swift dart python typescript

from_java() { # generator, folder
    JAVA_TOOL_OPTIONS=-Dlog.level=error openapi-generator-cli generate --input-spec "$document" --generator-name "$1" \
        --config "$here/$2/config.yaml" --output "$2" --global-property apiTests=false,modelTests=false \
        --additional-properties "artifactVersion=$version,pubVersion=$version" \
        >"$2.log" 2>&1 || { cat "$2.log"; exit 1; }
}

from_java kotlin kotlin & kotlin=$!
from_java swift6 swift & swift=$!
openapi-python-client generate --path "$document" --config "$here/python/config.yaml" --meta uv \
    --custom-template-path "$here/python/templates" --fail-on-warning --output-path python >python.log
DOCUMENT=$document openapi-ts --file "$here/typescript/openapi-ts.config.js" >typescript.log
wait $kotlin
from_java dart-dio dart
wait $swift

# The helpers.
cp "$here"/kotlin/*.kt kotlin/src/main/kotlin/tokenvend/
mkdir -p kotlin/src/main/resources/META-INF/proguard
cp "$here"/kotlin/consumer-rules.pro kotlin/src/main/resources/META-INF/proguard/tokenvend.pro
cp "$here"/swift/{Authorizer,TokenStore,Vendor}.swift swift/Sources/Tokenvend/
cp "$here"/swift/Package.swift swift/
rm -f swift/Cartfile swift/*.podspec swift/project.yml swift/git_push.sh
cp "$here"/dart/*.dart dart/lib/src/
printf "export 'package:tokenvend/src/%s.dart';\n" token_store vendor >>dart/lib/tokenvend.dart
cp "$here"/python/*.py python/tokenvend_client/
cp "$here"/typescript/*.ts typescript/src/
cp "$here"/typescript/{package,tsconfig}.json typescript/
python3 "$here/finish.py" .
tsc --project typescript

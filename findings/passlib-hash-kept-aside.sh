#!/usr/bin/env bash
# libpass 1.9.4 (a fork of passlib) with argon2-cffi 25.1.0: the method `hash` of argon2, kept before its first call.
# Expected: a function that makes a hash each time, as that of bcrypt, or of argon2 when something was hashed before.
# Seen: the first call makes a hash. Each later one raises AssertionError: the first call changed the class under the method, which
# still asks for a backend to be loaded. So a table of functions has to hold `lambda password: argon2.hash(password)`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check libpass==1.9.4 argon2-cffi==25.1.0 bcrypt==5.0.0
cat > "$folder/kept.py" <<'PY'
import sys
from passlib.hash import argon2, bcrypt

cheap = {"argon2": argon2.using(memory_cost=64, time_cost=1, parallelism=1), "bcrypt": bcrypt.using(rounds=4)}
kind, hashed_before = sys.argv[1:]
if hashed_before == "yes":
    cheap[kind].hash("violet")
kept, came = cheap[kind].hash, []
for _ in range(3):
    try:
        came.append("hash" if kept("violet").startswith("$") else "?")
    except AssertionError:
        came.append("AssertionError")
print(*came)
PY
while read -r kind before expected; do
    came=$("$folder/venv/bin/python" "$folder/kept.py" "$kind" "$before")
    echo "$kind, hashed before: $before: $came"
    test "$came" = "$expected"
done <<'ROWS'
argon2 no hash AssertionError AssertionError
argon2 yes hash hash hash
bcrypt no hash hash hash
bcrypt yes hash hash hash
ROWS

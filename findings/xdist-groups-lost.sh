#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: `--dist loadgroup` and `@pytest.mark.xdist_group`.
# Expected: all tests of a group run in one worker, as xdist's documentation says.
# Seen: the mark is taken without a word, and the tests of one group are spread over the workers. xdist writes the group into
# `item._nodeid`, and this pytest reads the id from elsewhere. Tests that share a port or a server start to fail now and then.
# So a suite that relies on groups should assert that a group's tests saw one value of the fixture `worker_id`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pytest==9.2.0 pytest-xdist==3.8.0
cat >"$folder/test_group.py" <<'PY'
import pathlib
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(12))
def test_in_a_group(number, worker_id):
    pathlib.Path(__file__).with_name(f"{number}.{worker_id}").touch()
    time.sleep(0.05)
PY
cd "$folder"
venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup test_group.py
workers=$(ls | grep -oE 'gw[0-9]+$' | sort -u | wc -l)
echo "pytest 9.2.0, xdist 3.8.0: one group ran in $workers workers"
[ "$workers" = 2 ]

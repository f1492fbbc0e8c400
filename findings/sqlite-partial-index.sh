#!/usr/bin/env bash
# SQLite 3.40 and 3.50 (Python's own, and the wheel apsw 3.50.4.0): a partial index beside one that a condition equals.
# Expected: `WHERE guest = 1 AND status = 'active' AND seen_at < ?` uses the index on `seen_at` that holds the few guests alone.
# Seen: it uses the index on `status`, which nearly every row has, until ANALYZE has run. An equality counts more than a range,
# and that the partial index has a thousandth of the rows does not count at all.
# A service that never runs ANALYZE reads the whole table: give the partial index an equality of its own as first column.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.50.4.0
"$folder/venv/bin/python" - <<'PY'
import sqlite3

import apsw

ASKED = "EXPLAIN QUERY PLAN SELECT id FROM users WHERE guest = 1 AND status = 'active' AND seen_at < 50"


def look(version, run):
    run("CREATE TABLE users (id INTEGER PRIMARY KEY, guest INTEGER, status TEXT, seen_at INTEGER)")
    run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
        "INSERT INTO users (guest, status, seen_at) SELECT i % 1000 = 0, 'active', i FROM n"
    )
    run("CREATE INDEX by_status ON users (status)")
    run("CREATE INDEX guests ON users (seen_at) WHERE guest = 1")
    plans = [list(run(ASKED))[0][3]]
    run("ANALYZE")
    plans.append(list(run(ASKED))[0][3])
    run("DROP INDEX guests")
    run("DROP TABLE sqlite_stat1")
    run("CREATE INDEX guests ON users (guest, seen_at) WHERE guest = 1")
    plans.append(list(run(ASKED))[0][3])
    print(f"{version}: at first {plans[0]}; after ANALYZE {plans[1]}; with `guest` as first column {plans[2]}")
    assert "by_status" in plans[0]
    assert "guests" in plans[1]
    assert "guests" in plans[2]


look(f"sqlite3 {sqlite3.sqlite_version}", sqlite3.connect(":memory:").execute)
look(f"apsw {apsw.sqlite_lib_version()}", apsw.Connection(":memory:").execute)
PY

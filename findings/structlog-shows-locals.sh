#!/usr/bin/env bash
# structlog 26.1.0 in its default configuration, beside rich 15.0.0.
# Expected: an exception is logged with its traceback, as Python prints one.
# Seen: where rich happens to be installed (pip or a test tool brings it), the log has every local variable of every frame too. A
# secret that was an argument is in the log, though nobody logged it. Each error also costs the rendering of all those objects: with a
# web framework's objects in the frames that took seconds in a test run. Without rich, or with `show_locals=False`, none of it appears.
# So configure structlog before anything may fail: in tests, scripts and commands as well as in the service.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/log.py" <<'PY'
import structlog


def sign_in(password):
    raise RuntimeError("the database does not answer")


try:
    sign_in("violet tractor moonlight")
except RuntimeError:
    structlog.get_logger().exception("sign-in failed")
PY
for with in "" "rich==15.0.0"; do
    python3 -m venv "$folder/venv$with"
    # shellcheck disable=SC2086
    "$folder/venv$with/bin/pip" install --quiet --disable-pip-version-check structlog==26.1.0 $with
    shown=$("$folder/venv$with/bin/python" "$folder/log.py" | grep -c "password = 'violet tractor moonlight'" || true)
    echo "structlog 26.1.0, ${with:-without rich}: the password is shown $shown times"
    [ "$shown" = "$([ -n "$with" ] && echo 1 || echo 0)" ]
done

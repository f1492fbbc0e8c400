"""`python -m tests.clients [WORD …]`: drives clients whose names have one of the words, and writes docs/app/clients.md.

A client that is not named keeps its row, with the date on which it was tried. The exit status is pytest's.
"""

import os
import subprocess
import sys

from tests.clients import page
from tests.support.documents import ROOT


def main() -> None:
    words = sys.argv[1:]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/clients/test_matrix.py"]
    if words:
        command += ["-k", " or ".join(words)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {page.TOLD_TO: "1"}, check=False)
    page.PAGE.write_text(page.written(page.seen()), encoding="utf-8")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()

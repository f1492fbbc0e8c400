"""`python -m tests.systems`: hashes passwords with other systems' packages, and writes the page about imported hashes.

A system that cannot be had here keeps its row. The exit status is pytest's.
"""

import os
import subprocess
import sys

from tests.support.documents import ROOT
from tests.systems import page


def main() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--tier", "long", "tests/systems"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {page.TOLD_TO: "1"}, check=False)
    page.PAGE.write_text(page.written(page.seen()), encoding="utf-8")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()

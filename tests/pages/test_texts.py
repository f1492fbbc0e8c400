"""What pages say to people: a sentence for every code, and never the `detail` of a problem."""

import re
from pathlib import Path

from app.platform.problems import Problem

PAGES = Path(__file__).parent.parent.parent / "app" / "pages"
JARGON = re.compile(r"token|`|/v1/|\bSTS\b|\bkeys?\b", re.IGNORECASE)


def test_every_code_has_a_sentence() -> None:
    lines = (PAGES / "shared" / "texts.js").read_text(encoding="utf-8").splitlines()
    texts = dict(re.findall(r"^  (\w+): (.+),$", "\n".join(lines), re.MULTILINE))
    assert {*Problem.catalogue} <= {*texts}
    assert {*texts} - {*Problem.catalogue} == {"signed_out", "unreachable"}  # those are the pages' own
    assert not [text for text in texts.values() if JARGON.search(text)]


def test_no_page_reads_the_detail_of_a_problem() -> None:
    scripts = [script for script in PAGES.rglob("*.js") if "vendor" not in script.parts]
    assert len(scripts) > 30
    reads = {
        f"{script.parent.name}/{script.name}: {line.strip()}"
        for script in scripts
        for line in script.read_text(encoding="utf-8").splitlines()
        if re.search(r"\.detail\b", line.replace("event.detail", ""))
    }
    # That of an access check: the sample page explains to developers, beside its code, why S3 refused.
    assert all("error.why.detail" in read for read in reads), reads

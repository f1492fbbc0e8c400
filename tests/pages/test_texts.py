"""What pages say to people: a sentence for every code, and never the `detail` of a problem."""

import re
from pathlib import Path

from app.platform.problems import Problem

APP = Path(__file__).parent.parent.parent / "app"
PAGES = APP / "pages"
REASON = re.compile(r'(?:reason ?= ?|enabled else )"(\w+)"')
FIELD_ERROR = re.compile(r'(?:FieldError\(\s*"[\w.]+",|_weak\()\s*"(\w+)"')
JARGON = re.compile(r"token|`|/v1/|\bSTS\b|\bkeys?\b", re.IGNORECASE)


def test_every_code_has_a_sentence() -> None:
    texts = _texts("TEXTS")
    assert {*Problem.catalogue} <= {*texts}
    assert {*texts} - {*Problem.catalogue} == {"signed_out", "unreachable"}  # those are the pages' own
    assert not [text for text in texts.values() if JARGON.search(text)]


def test_every_field_has_a_sentence_for_what_is_wrong_with_it() -> None:
    """What people themselves send; pydantic's three are what a form of a page can bring about."""
    modules = [
        module
        for package in ("accounts", "auth", "lifecycle", "records", "sharing")
        for module in (APP / package).rglob("*.py")
    ]
    codes = {code for module in modules for code in FIELD_ERROR.findall(module.read_text(encoding="utf-8"))}
    assert {"too_short", "own_address", "missing"} <= codes
    texts = _texts("FIELD_TEXTS")
    assert {*texts} == codes | {"missing", "string_too_long", "string_too_short"}
    assert not [text for text in texts.values() if JARGON.search(text)]


def test_every_reason_in_the_audit_has_words() -> None:
    packages = ("accounts", "admin", "auth", "http", "lifecycle", "revocation", "sharing")
    modules = [module for package in packages for module in (APP / package).rglob("*.py")]
    reasons = {code for module in modules for code in REASON.findall(module.read_text(encoding="utf-8"))}
    assert {"logout", "wrong_code", "mfa_disabled"} <= reasons
    words = (PAGES / "console" / "words.js").read_text(encoding="utf-8")
    table = words.partition("const REASONS = {\n")[2].partition("\n};")[0]
    assert not reasons - {*re.findall(r"(\w+): \"", table)}


def _texts(name: str) -> dict[str, str]:
    script = (PAGES / "shared" / "texts.js").read_text(encoding="utf-8")
    table = script.partition(f"const {name} = {{\n")[2].partition("\n};")[0]
    return dict(re.findall(r"^  (\w+): (.+),$", table, re.MULTILINE))


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

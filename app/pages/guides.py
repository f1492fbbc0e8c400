"""The guides of a clone, as pages of the service at `/guides`. An installed package has none.

Only files that were found at start are served, by their whole name. So no path leads anywhere else.
"""

import functools
import itertools
import posixpath
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TEMPLATE = HERE / "guides" / "index.html"
FIRST = "docs/index.md"
SCROLLED = 'tabindex="0" role="group" aria-label="Code"'
"""Of a block of code, as of a table: on a phone it is wider than the page, and the keyboard scrolls it."""
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
CHOSEN = {
    "docs/try.md": "Trying it",
    "docs/app/calls.md": "The calls of an app",
    "deploy/sdk/README.md": "Android, iOS, Flutter, web, Python",
    "docs/app/sign-in.md": "Sign-in",
    "docs/app/uploads.md": "Uploads",
    "docs/app/sharing.md": "Shared folders",
    "docs/app/links.md": "Links to albums",
    "docs/app/why-refused.md": "Why was it refused?",
    "docs/reference/problems.md": "Problems",
    FIRST: "All guides",
}
"""What the pages link to."""
FOR_STAFF = {
    "docs/operate/administration.md": "Administration",
    "docs/operate/moving-users.md": "Moving users",
    "docs/operate/audit.md": "The audit",
    "docs/operate/monitoring.md": "Monitoring",
    "deploy/RUNBOOK.md": "Runbook",
    FIRST: "All guides",
}
"""What the console links to."""


@functools.cache
def files() -> dict[str, Path]:
    """Name in the clone → file. Empty where there is no clone."""
    if not (ROOT / FIRST).is_file():
        return {}
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for folder, pattern in (("docs", "**/*"), ("deploy", "**/*.md")):
        found += (file for file in (ROOT / folder).glob(pattern) if file.suffix in (".md", *KINDS))
    return {file.relative_to(ROOT).as_posix(): file for file in found if file.is_file()}


def links(*, root: str = "guides/") -> str:
    """A list of the chosen ones; empty where there is no clone."""
    known = [(name, title) for name, title in CHOSEN.items() if name in files()]
    return "\n".join(f'<li><a href="{root}{name}">{escape(title)}</a></li>' for name, title in known)


def page(name: str) -> str:
    """The guide as HTML. Its links to what is not served are plain text."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - for development alone

    reader = MarkdownIt("commonmark").enable("table")
    tokens = reader.parse(files()[name].read_text(encoding="utf-8"))
    title = name
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(following.content))
            if token.tag == "h1":
                title = following.content
        elif token.type == "table_open":
            token.attrSet("tabindex", "0")
        for child in token.children or ():
            _keep_link(child, name)
    root = "../" * name.count("/")
    text = TEMPLATE.read_text(encoding="utf-8").replace("<!-- title -->", escape(title)).replace("<!-- root -->", root)
    guide = reader.renderer.render(tokens, reader.options, {}).replace("<pre>", f"<pre {SCROLLED}>")
    guide = guide.replace("<th></th>", "<td></td>")  # a corner is no heading
    return text.replace("<!-- guide -->", guide)


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _keep_link(token: "Token", name: str) -> None:
    if token.type != "link_open":
        return
    parts = urlsplit(str(token.attrGet("href")))
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    if not parts.scheme and parts.path and target not in files():
        del token.attrs["href"]

"""The site of all documents, made by Sphinx: `make docs`.

Its root is the repository's, so that links work in the site as they do in the repository. The table of contents is
here, and not in Markdown, where others than Sphinx could not read it.
"""

from sphinx.application import Sphinx

CONTENTS = {
    "Start": ["/README", "try"],
    "For your app": [
        "app/calls",
        "/deploy/sdk/README",
        "app/sign-in",
        "app/guests",
        "app/passkeys",
        "app/providers",
        "app/uploads",
        "app/sharing",
        "app/downloads",
        "app/links",
        "app/why-refused",
        "app/shell",
        "app/clients",
        "app/recipes",
    ],
    "To run it": [
        "/deploy/README",
        "operate/aws",
        "operate/proxies",
        "operate/modes",
        "operate/sts",
        "operate/cdn",
        "operate/engines",
        "operate/poolers",
        "operate/redis",
        "operate/mail",
        "operate/events-out",
        "operate/rotate-secrets",
        "operate/sign-in",
        "operate/revocation",
        "operate/quotas",
        "operate/erasure",
        "operate/canary",
        "operate/administration",
        "operate/audit",
        "operate/moving-users",
        "/deploy/imports/README",
        "operate/performance",
        "operate/monitoring",
        "operate/bounds",
        "/deploy/RUNBOOK",
        "/deploy/DEPENDENCIES",
    ],
    "Reference": [
        "reference/settings",
        "reference/problems",
        "reference/commands",
        "reference/metrics",
        "reference/limits",
        "reference/events",
        "reference/imported-hashes",
    ],
    "To understand and change it": [
        "architecture",
        "decisions",
        "glossary",
        "/CONTRIBUTING",
        "test-long",
        "/CHANGELOG",
        "/changelog.d/README",
        "/tests/security/REQUIREMENTS",
    ],
}
ROOT = "docs/index"

project = "tokenvend"
root_doc = ROOT
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/*/*.md",
    "deploy/*.md",
    "deploy/*/README.md",
    "changelog.d/README.md",
    "tests/security/REQUIREMENTS.md",
]
exclude_patterns = [".*", "**/node_modules", "app", "build", "dist", "var"]
extensions = ["myst_parser"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "tokenvend"
html_extra_path = ["site"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_use_index = False


def _add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    if page == ROOT:
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def setup(app: Sphinx) -> None:
    app.connect("source-read", _add_contents)

"""What CloudFront makes of a policy, written from its documentation and not from the builder of ours.

https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-custom-policy.html
"""

import base64
import functools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

OWN_PARAMETERS = ("Policy", "Signature", "Key-Pair-Id")
"""Left out of a URL before it is compared with the pattern of its policy."""


def matches(pattern: str, url: str) -> bool:
    """`*` is any run of characters, none too, and `?` any one, anywhere. All else is itself, its case too."""
    return _compiled(pattern).fullmatch(url) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(symbol) or re.escape(symbol) for symbol in pattern), re.DOTALL)


def parameters(url: str) -> tuple[str, dict[str, str]]:
    """The URL without CloudFront's own parameters, and these. ValueError for one that stands there twice."""
    place, mark, query = url.partition("?")
    others, own = [], {}
    for part in query.split("&") if mark else []:
        name, _, value = part.partition("=")
        if name not in OWN_PARAMETERS:
            others.append(part)
        elif name in own:
            raise ValueError(f"{name} twice")
        else:
            own[name] = value
    return place + ("?" + "&".join(others) if others else ""), own


def decoded(text: str) -> bytes:
    """Base64 in the spelling of CloudFront. ValueError for anything else."""
    return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")), validate=True)


def allows(policy: bytes, url: str, now: datetime) -> bool:
    """Whether the statement lets somebody in: one statement, one pattern, and the moment when it ends."""
    document: Any = json.loads(policy)
    assert document.keys() == {"Statement"}
    (statement,) = document["Statement"]
    assert statement.keys() == {"Resource", "Condition"}
    assert re.match(r"https?://|\*", statement["Resource"])
    condition: Mapping[str, Mapping[str, Any]] = statement["Condition"]
    assert condition.keys() == {"DateLessThan"}
    until = datetime.fromtimestamp(condition["DateLessThan"]["AWS:EpochTime"], UTC)
    return now < until and matches(statement["Resource"], url)


def leads_out(path: str) -> bool:
    """Whether a path has a segment of dots, once somebody on the way decodes it, or decodes it again.

    CloudFront itself compares and passes on what it got. The function of `deploy/aws/cdn.yaml` refuses such paths.
    """
    text = path
    for _ in range(4):
        if re.search(r"(?:^|[/\\])\.{1,2}(?:[/\\]|$)|[\x00-\x1f\x7f]", text):
            return True
        try:
            once_more = _unquoted(text)
        except ValueError:
            return text is path
        if once_more == text:
            return False
        text = once_more
    return True


def _unquoted(text: str) -> str:
    """As JavaScript's decodeURIComponent: ValueError for what is no percent-encoded UTF-8."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a percent sign that encodes nothing")
    parts = re.split(r"((?:%[0-9A-Fa-f]{2})+)", text)
    return "".join(
        bytes.fromhex(part.replace("%", "")).decode("utf-8") if at % 2 else part for at, part in enumerate(parts)
    )


def path_of(url: str) -> str:
    return urlsplit(url).path

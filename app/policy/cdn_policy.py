"""Policies of signed URLs and cookies, as Amazon CloudFront reads them. No other code builds one.

A policy names one pattern of URLs and the moment when it ends. In a pattern `*` stands for any characters and `?` for
one, anywhere. So a prefix is percent-encoded first, which leaves neither of them in it. One `*` follows at its end.
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-custom-policy.html
"""

import json
import re
from datetime import datetime
from urllib.parse import quote, unquote

_ORIGIN = re.compile(r"https?://[a-z0-9_.:\[\]-]+\Z")
_PREFIX = re.compile(r"users/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/(?:[^/]+/)*\Z")
_PLAIN = re.compile(r"[A-Za-z0-9._~/%-]+\Z")
"""Unreserved characters (RFC 3986 §2.3), slashes and what is percent-encoded."""


def folder_url(origin: str, prefix: str) -> str:
    """The URL of a user's prefix, or of a folder in it, at the CDN. It ends in `/`, and a key's rest follows.

    All but unreserved characters are percent-encoded, so nothing on the way respells it. Raises ValueError for an
    origin with a path or a wildcard, and for a prefix that `narrowed_prefix` does not return.
    """
    if not _ORIGIN.match(origin):
        raise ValueError("not an origin")
    segments = {segment for spelling in (prefix, unquote(prefix)) for segment in spelling.split("/")}
    if not _PREFIX.match(prefix) or segments & {".", ".."}:
        raise ValueError("not the prefix of a user")
    path = quote(prefix, safe="/")
    if not _PLAIN.match(path):
        raise ValueError("not the prefix of a user")
    return f"{origin}/{path}"


def policy(origin: str, prefix: str, until: datetime) -> str:
    """The policy that lets its holder read everything under `prefix` before `until`, in whole seconds.

    Compact ASCII JSON, its members in the order in which AWS's SDKs write them. Raises what `folder_url` raises.
    """
    condition = {"DateLessThan": {"AWS:EpochTime": int(until.timestamp())}}
    statement = {"Resource": f"{folder_url(origin, prefix)}*", "Condition": condition}
    return json.dumps({"Statement": [statement]}, separators=(",", ":"), ensure_ascii=True)

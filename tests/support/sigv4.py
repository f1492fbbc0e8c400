"""AWS's Signature Version 4 as its documentation has it, for requests received: nothing of it is botocore's."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit


@dataclass(frozen=True)
class Signed:
    """What an `Authorization` header says of itself."""

    access_key_id: str
    region: str
    service: str
    names: tuple[str, ...]
    signature: str
    day: str


def read(authorization: str) -> Signed:
    scope = r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request"
    match = re.fullmatch(rf"{scope}, SignedHeaders=([\w;-]+), Signature=([0-9a-f]{{64}})", authorization)
    assert match is not None, authorization
    key, day, region, service, names, signature = match.groups()
    return Signed(key, region, service, tuple(names.split(";")), signature, day)


def signature(method: str, target: str, headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """What the signature of such a request must be; `headers` by their names in lower case."""
    signed = read(headers["authorization"])
    parts = urlsplit(target)
    canonical = "\n".join(
        [
            method,
            quote(parts.path or "/", safe="/-_.~%"),
            parts.query,
            *(f"{name}:{' '.join(headers[name].split())}" for name in signed.names),
            "",
            ";".join(signed.names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{signed.day}/{signed.region}/{signed.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()

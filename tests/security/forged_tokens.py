"""Every way we know to spoil or forge an access token. What is signed is signed rightly."""

import json
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.serialization import Encoding

from tests.security.forgery import Forger, b64, encoded

Forge = Callable[[Forger], str | bytes]


def changed_last_character(token: str) -> str:
    """Another base64url spelling of the same signature bytes: the last character carries two unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def changed_first_character(signature: str) -> str:
    return ("B" if signature[0] == "A" else "A") + signature[1:]


ALGORITHMS: dict[str, Forge] = {
    "none without signature": lambda f: f.unsigned("none"),
    "none with the real signature": lambda f: f.unsigned("none", f.genuine.rpartition(".")[2]),
    "None": lambda f: f.unsigned("None"),
    "NoNe": lambda f: f.unsigned("NoNe", "AA"),
    "nOnE in two parts": lambda f: f.unsigned("nOnE").rstrip("."),
    "HS256 with the PEM": lambda f: f.hmacked(f.public_bytes(Encoding.PEM)),
    "HS256 with the stripped PEM": lambda f: f.hmacked(f.public_bytes(Encoding.PEM).strip()),
    "HS256 with the DER": lambda f: f.hmacked(f.public_bytes(Encoding.DER)),
    "HS384 with the DER": lambda f: f.hmacked(f.public_bytes(Encoding.DER), alg="HS384"),
    "HS512 with the JWK": lambda f: f.hmacked(json.dumps(f.public_jwk).encode(), alg="HS512"),
    "HS256 with the kid": lambda f: f.hmacked(f.header["kid"].encode()),
    "HS256 with nothing": lambda f: f.hmacked(b""),
    "PS256": lambda f: f.headed(alg="PS256"),
    "RS256": lambda f: f.headed(alg="RS256"),
    "ES384": lambda f: f.headed(alg="ES384"),
    "ES256K": lambda f: f.headed(alg="ES256K"),
    "EdDSA": lambda f: f.headed(alg="EdDSA"),
    "in lower case": lambda f: f.headed(alg="es256"),
    "with a space": lambda f: f.headed(alg="ES256 "),
    "a list": lambda f: f.headed(alg=["ES256"]),
    "null": lambda f: f.headed(alg=None),
    "missing": lambda f: f.token({"typ": "at+jwt", "kid": f.header["kid"]}),
    "twice": lambda f: f.token(f'{{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"{f.header["kid"]}"}}'.encode()),
}

KEYS: dict[str, Forge] = {
    "another key under our kid": lambda f: f.token(key=f.own_key),
    "the attacker's jwk": lambda f: f.token({**f.header, "jwk": f.jwk_of_own_key()}, key=f.own_key),
    "the attacker's jwk without kid": lambda f: f.token(
        {"alg": "ES256", "typ": "at+jwt", "jwk": f.jwk_of_own_key()}, key=f.own_key
    ),
    "our own jwk": lambda f: f.headed(jwk=f.public_jwk),
    "x5c": lambda f: f.headed(x5c=[b64(f.public_bytes(Encoding.DER))]),
    "x5t": lambda f: f.headed(x5t="AAAA"),
    "unknown kid": lambda f: f.token({**f.header, "kid": "attacker"}, key=f.own_key),
    "kid of a file": lambda f: f.hmacked(b"", kid="../../../../../../dev/null"),
    "kid of SQL": lambda f: f.hmacked(b"x", kid="' OR 1=1--"),
    "kid of SQL that selects a key": lambda f: f.hmacked(b"x", kid="x' UNION SELECT 'x';--"),
    "kid of a command": lambda f: f.headed(kid="|id"),
    "kid object": lambda f: f.headed(kid={"$ne": None}),
    "kid list": lambda f: f.headed(kid=[f.header["kid"]]),
    "kid null": lambda f: f.headed(kid=None),
    "kid number": lambda f: f.headed(kid=1),
    "kid empty": lambda f: f.headed(kid=""),
    "kid with NUL": lambda f: f.headed(kid=f.header["kid"] + "\0"),
    "kid missing": lambda f: f.token({"alg": "ES256", "typ": "at+jwt"}),
}

TIMES: dict[str, Forge] = {
    "exp past": lambda f: f.claiming(exp=f.now - 1),
    "exp now": lambda f: f.claiming(exp=f.now),
    "exp beyond 15 minutes": lambda f: f.claiming(exp=f.now + 901),
    "exp string": lambda f: f.claiming(exp=str(f.now + 900)),
    "exp float": lambda f: f.claiming(exp=f.now + 899.5),
    "exp true": lambda f: f.claiming(exp=True),
    "exp 1e400": lambda f: f.raw_claim("exp", "1e400"),
    "exp NaN": lambda f: f.raw_claim("exp", "NaN"),
    "exp Infinity": lambda f: f.raw_claim("exp", "Infinity"),
    "exp of 2,000 digits": lambda f: f.raw_claim("exp", "9" * 2000),
    "exp null": lambda f: f.claiming(exp=None),
    "exp list": lambda f: f.claiming(exp=[f.now + 900]),
    "exp negative": lambda f: f.claiming(exp=-1),
    "iat 3,000 s ahead": lambda f: f.claiming(iat=f.now + 3000, exp=f.now + 3900),
    "iat 11 s ahead": lambda f: f.claiming(iat=f.now + 11, exp=f.now + 900),
    "iat string": lambda f: f.claiming(iat=str(f.now)),
    "iat true": lambda f: f.claiming(iat=True),
    "auth_time string": lambda f: f.claiming(auth_time="now"),
    "auth_time true": lambda f: f.claiming(auth_time=True),
}

MEANT_FOR_OTHERS: dict[str, Forge] = {
    "iss of another environment": lambda f: f.claiming(iss="https://staging.example.org"),
    "iss with a slash": lambda f: f.claiming(iss=f.claims["iss"] + "/"),
    "iss list": lambda f: f.claiming(iss=[f.claims["iss"]]),
    "aud of another environment": lambda f: f.claiming(aud="https://staging.example.org/v1"),
    "aud of STS": lambda f: f.claiming(aud="sts.amazonaws.com"),
    "aud list": lambda f: f.claiming(aud=[f.claims["aud"], "https://other.example.org"]),
    "client_id of another app": lambda f: f.claiming(client_id="other-app"),
    "sub of nobody": lambda f: f.claiming(sub=str(uuid.uuid4())),
    "sub in capitals": lambda f: f.claiming(sub=f.claims["sub"].upper()),
    "sub without hyphens": lambda f: f.claiming(sub=f.claims["sub"].replace("-", "")),
    "sub number": lambda f: f.claiming(sub=1),
    "sub SQL": lambda f: f.claiming(sub="' OR 1=1--"),
    "sub path": lambda f: f.claiming(sub=f"{f.claims['sub']}/../.."),
    "sub twice": lambda f: f.token(
        claims=json.dumps(f.claims).replace('{"iss"', f'{{"sub": "{uuid.uuid4()}", "iss"').encode()
    ),
    "sid of nobody": lambda f: f.claiming(sid=str(uuid.uuid4())),
    "sid null": lambda f: f.claiming(sid=None),
    "jti null": lambda f: f.claiming(jti=None),
    "jti object": lambda f: f.claiming(jti={"$ne": 1}),
    "jti empty": lambda f: f.claiming(jti=""),
    "one claim too many": lambda f: f.claiming(role="admin"),
    "nbf ahead": lambda f: f.claiming(nbf=f.now + 3000),
}

TYPES: dict[str, Forge] = {
    "typ JWT": lambda f: f.headed(typ="JWT"),
    "typ of an ID token for STS": lambda f: f.headed(typ="id+jwt"),
    "typ in capitals": lambda f: f.headed(typ="AT+JWT"),
    "typ list": lambda f: f.headed(typ=["at+jwt"]),
    "typ null": lambda f: f.headed(typ=None),
    "typ missing": lambda f: f.token({"alg": "ES256", "kid": f.header["kid"]}),
}

CRITICAL: dict[str, Forge] = {
    "an unknown extension": lambda f: f.headed(crit=["policy"], policy="admin"),
    "exp": lambda f: f.headed(crit=["exp"], exp=1),
    "empty": lambda f: f.headed(crit=[]),
    "b64=false": lambda f: f.headed(crit=["b64"], b64=False),
    "b64=false without crit": lambda f: f.headed(b64=False),
    "zip": lambda f: f.headed(zip="DEF"),
    "cty": lambda f: f.headed(cty="JWT"),
}


def part(forger: Forger, index: int, text: str) -> str:
    """The genuine token with one part replaced."""
    parts = forger.genuine.split(".")
    parts[index] = text
    return ".".join(parts)


MALFORMED: dict[str, Forge] = {
    "one part": lambda f: f.genuine.replace(".", ""),
    "two parts": lambda f: f.genuine.rpartition(".")[0],
    "four parts": lambda f: f.genuine + ".AAAA",
    "five parts, as a JWE": lambda f: f.genuine + ".AAAA.AAAA",
    "only dots": lambda f: "..",
    "an empty header": lambda f: part(f, 0, ""),
    "an empty payload": lambda f: part(f, 1, ""),
    "an empty signature": lambda f: part(f, 2, ""),
    "padding": lambda f: f.genuine + "==",
    "another last character": lambda f: changed_last_character(f.genuine),
    "another first character": lambda f: part(f, 2, changed_first_character(f.genuine.rpartition(".")[2])),
    "standard base64": lambda f: part(f, 2, "+/" + f.genuine.rpartition(".")[2][2:]),
    "a signature cut short": lambda f: f.genuine[:-4],
    "a signature too long": lambda f: f.genuine + "AAAA",
    "a signature of zeros": lambda f: part(f, 2, b64(bytes(64))),
    "a signature in DER": lambda f: f.der_signed(),
    "a space inside": lambda f: f.genuine.replace(".", ". ", 1),
    "a word after it": lambda f: f.genuine + " admin",
    "a comma after it": lambda f: f.genuine + "," + f.genuine,
    "quotes": lambda f: f'"{f.genuine}"',
    "non-ASCII": lambda f: f.genuine.encode() + b"\xc3\xa9",
    "not UTF-8": lambda f: f.genuine.encode() + b"\xff\xfe",
    "the JSON serialization": lambda f: json.dumps({"payload": encoded(f.claims), "signature": "AA"}),
    "a nested header": lambda f: part(f, 0, b64(b'{"a":' * 500 + b"1" + b"}" * 500)),
    "a header nested beyond recursion": lambda f: f.token(b"[" * 2500),
    "a payload nested beyond recursion": lambda f: f.token(claims=b"[" * 2500),
    "a header that is a list": lambda f: f.token(b"[]"),
    "a header that is null": lambda f: f.token(b"null"),
    "a header that is a string": lambda f: f.token(b'"ES256"'),
    "a header that is not UTF-8": lambda f: f.token(b'{"alg":"\xff"}'),
    "a header in UTF-16": lambda f: f.token(json.dumps(f.header).encode("utf-16")),
    "a header with a BOM": lambda f: f.token(b"\xef\xbb\xbf" + json.dumps(f.header).encode()),
    "a header with a lone surrogate": lambda f: f.token(json.dumps({**f.header, "kid": "\ud800"}).encode()),
    "a header with an end": lambda f: f.token(json.dumps(f.header).encode() + b"{}"),
    "a huge header": lambda f: f.headed(pad="x" * 60_000),
    "a payload that is a list": lambda f: f.token(claims=b"[]"),
    "a payload that is null": lambda f: f.token(claims=b"null"),
    "a payload that is empty": lambda f: f.token(claims=b"{}"),
    "a payload that is not UTF-8": lambda f: f.token(claims=b'{"sub":"\xff"}'),
    "a payload with a lone surrogate": lambda f: f.raw_claim("sub", '"\\ud800"'),
    "100 KB": lambda f: "A" * 100_000,
    "100 KB of dots": lambda f: "." * 100_000,
    "a real token of 100 KB": lambda f: f.claiming(pad="x" * 75_000),
}

"""Makes what SeaweedFS reads: identities and the role, security, command line, environment. All functions are pure.

Paths are relative to the directory that it runs in, because a socket's address has 104 bytes at most.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCOUNT = "000000000000"
ROLE_NAME = "tokenvend-vending"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}"

STORE = "store"
IAM_FILE = "iam.json"
CERTIFICATE_FILE = "grpc.pem"
KEY_FILE = "grpc.key"

OBJECT_ACTIONS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:GetObjectTagging",
    "s3:PutObjectTagging",
    "s3:DeleteObjectTagging",
)
"""What any setting may let a session policy allow."""
LONGEST_SESSION = 43_200
"""Seconds. SeaweedFS silently drops a role whose maximum is under 3,600."""
WORKER_PORT_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class KeyPair:
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def random(cls) -> "KeyPair":
        return cls("AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(), secrets.token_urlsafe(30))


@dataclass(frozen=True, slots=True)
class Keys:
    """The broker's pair may assume the one role and do nothing in S3; the owner's may do everything there."""

    broker: KeyPair
    owner: KeyPair
    signing_key: str = field(repr=False)
    """Of session tokens. It is kept, so that credentials outlive a restart of the engine as they would AWS's."""

    @classmethod
    def random(cls) -> "Keys":
        signing_key = base64.b64encode(secrets.token_bytes(32)).decode()
        return cls(broker=KeyPair.random(), owner=KeyPair.random(), signing_key=signing_key)


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """The issuer whose ID tokens may assume the role, by AssumeRoleWithWebIdentity. Then the broker's key may not."""

    issuer: str
    """Equal to the tokens' `iss`. It need not answer before the first token comes."""
    jwks_url: str
    """Read again at once for a key id that is not known; a key that is withdrawn holds until the next reading."""
    subject: str
    audience: str = "sts.amazonaws.com"
    """Tokens must have it as a string: SeaweedFS compares a list, even of one, with nothing."""

    @property
    def provider_arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{self.issuer.partition('://')[2]}"


def ports(first: int, *, aside: bool = False) -> dict[str, int]:
    """Option → port of all ten listeners: nine from `first` on, and one 10,000 above the last of them.

    The maintenance worker looks for the admin server's gRPC there, whatever the options say. S3 and STS have the first
    one. `aside`: they leave it free, and have the tenth.
    """
    pairs = [f"{server}.port{kind}" for server in ("s3", "filer", "volume", "master") for kind in ("", ".grpc")]
    admin = first + len(pairs)
    numbered = {option: first + offset for offset, option in enumerate(pairs)}
    if aside:
        numbered["s3.port"] = admin + 1
    return numbered | {"admin.port": admin, "admin.port.grpc": admin + WORKER_PORT_OFFSET}


def endpoint_url(first_port: int, *, aside: bool = False) -> str:
    return f"http://{HOST}:{ports(first_port, aside=aside)['s3.port']}"


def leftover_sockets(first_port: int) -> list[str]:
    """Where SeaweedFS puts its gRPC sockets, which no option changes, and leaves them when it is killed."""
    grpc = {option.split(".")[0]: port for option, port in ports(first_port).items() if option.endswith(".grpc")}
    return [f"/tmp/seaweedfs-{name}-grpc-{port}.sock" for name, port in grpc.items()]  # noqa: S108


def files(
    keys: Keys, bucket: str, *, web_identity: WebIdentity | None = None, federation: bool = False
) -> dict[str, str]:
    """Name → text of what SeaweedFS reads. It looks in /etc/seaweedfs for each name that it does not find here."""
    return {
        IAM_FILE: json.dumps(iam_document(keys, bucket, web_identity=web_identity, federation=federation), indent=2),
        "security.toml": security_toml(),
        "filer.toml": f'[leveldb2]\nenabled = true\ndir = "{STORE}/filerldb2"\n',
        **dict.fromkeys(("master.toml", "volume.toml", "admin.toml", "credential.toml", "notification.toml"), ""),
    }


def iam_document(
    keys: Keys, bucket: str, *, web_identity: WebIdentity | None = None, federation: bool = False
) -> dict[str, Any]:
    """Two identities and one role. One party alone may assume it, so that no vended credential can renew itself."""
    role = {
        "roleName": ROLE_NAME,
        "roleArn": ROLE_ARN,
        "maxSessionDuration": LONGEST_SESSION,
        "trustPolicy": _policy([_trust(web_identity)]),
        "attachedPolicies": ["users"],
    }
    document: dict[str, Any] = {
        "identities": [_identity("owner", keys.owner, ["Admin"]), _identity("broker", keys.broker, [])],
        "sts": {
            "issuer": "tokenvend",
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "signingKey": keys.signing_key,
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "users", "document": role_policy(bucket)}],
        "roles": [role],
    }
    if web_identity is not None:
        document["sts"]["providers"] = [_provider(web_identity)]
    if federation:
        allowed = {"Effect": "Allow", "Action": ["sts:GetFederationToken"], "Resource": "*"}
        document["policies"].append({"name": "federation", "document": _policy([allowed])})
        # A federated session may do what its user may and its policy allows: so the user must have the objects, too.
        document["identities"][1]["policyNames"] = ["users", "federation"]
    return document


def role_policy(bucket: str) -> dict[str, Any]:
    """The policy of the role, before a session policy narrows it."""
    objects = {"Effect": "Allow", "Action": list(OBJECT_ACTIONS), "Resource": f"arn:aws:s3:::{bucket}/users/*"}
    lists = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    location = {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": f"arn:aws:s3:::{bucket}"}
    return _policy([objects, lists, location])


def security_toml() -> str:
    """Fresh JWT keys, without which filer and volume server serve anybody, and mutual TLS for all gRPC.

    One certificate is server, client and authority at once: who can show it is the engine itself.
    """
    own = f'cert = "{CERTIFICATE_FILE}"\nkey = "{KEY_FILE}"'
    jwt = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    grpc = ("master", "volume", "filer", "s3", "admin", "worker", "client")
    sections = {
        **{name: f'key = "{secrets.token_urlsafe(32)}"' for name in jwt},
        "grpc": f'ca = "{CERTIFICATE_FILE}"',
        **{f"grpc.{component}": own for component in grpc},
    }
    return "".join(f"[{name}]\n{body}\n\n" for name, body in sections.items())


def command(weed: str, numbered: Mapping[str, int], allowed_origins: Sequence[str]) -> list[str]:
    origins = ",".join(allowed_origins)  # none: the empty origin, which no browser sends; without the option, all
    options = {
        "dir": STORE,
        "ip": HOST,
        "ip.bind": HOST,
        **numbered,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam.config": IAM_FILE,
        "s3.allowedOrigins": origins,
        "filer.allowedOrigins": origins,
        "s3.autoCreateBucket": "false",
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.localSocket": "s3.sock",
        "filer.localSocket": "filer.sock",
        # The master learns volumes and ids from the volume server; an election among one takes it a second.
        "master.resumeState": "false",
        "volume.preStopSeconds": 0,
        "master.telemetry": "false",
        "webdav": "false",
        "admin.ui": "false",
        # Otherwise the master gives anybody a signed token to write with, in spite of the JWT keys.
        "disableHttp": "true",
    }
    return [weed, "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items())]


def environment(home: str, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A few of the caller's. SeaweedFS makes AWS_ACCESS_KEY_ID an administrator, and WEED_… overrides its files."""
    kept = {name: inherited[name] for name in ("PATH", "LD_LIBRARY_PATH", "TZ") if name in inherited}
    return kept | {"HOME": home, "TMPDIR": home}


def _trust(web_identity: WebIdentity | None) -> dict[str, Any]:
    if web_identity is None:
        return {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/broker"},
            "Action": ["sts:AssumeRole"],
        }
    return {
        "Effect": "Allow",
        "Principal": {"Federated": web_identity.provider_arn},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        # AWS calls them `<issuer without scheme>:aud` and `:sub`; SeaweedFS knows no such key, and refuses everybody.
        "Condition": {"StringEquals": {"oidc:aud": web_identity.audience, "oidc:sub": web_identity.subject}},
    }


def _provider(web_identity: WebIdentity) -> dict[str, Any]:
    """No `policyClaim`: with one, a token that brings its own policies needs no role, and meets no trust policy."""
    return {
        "name": web_identity.provider_arn,  # what SeaweedFS compares a federated principal with
        "type": "oidc",
        "enabled": True,
        "config": {
            "issuer": web_identity.issuer,
            "clientId": web_identity.audience,
            "jwksUri": web_identity.jwks_url,
        },
    }


def _identity(name: str, keys: KeyPair, actions: list[str]) -> dict[str, Any]:
    credential = {"accessKey": keys.access_key_id, "secretKey": keys.secret_access_key}
    return {"name": name, "credentials": [credential], "actions": actions}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}

"""The examples of the OpenAPI document: each one is a value that could have been sent, or could have been answered.

An example has a line in one of these tables, by `Model.member`, `operation.parameter` or the member's name alone:

- FORMS: what its form has to be. The same check is made of what the service really answers, so that it cannot be wrong.
- SCENE: what it has to be beside other examples, such as a token that verifies by the key that is shown.
- ANSWERED: the service answered this very value to the story that is told here.
- FREE: text that a person chose.

A UUID and a moment are known by their `format`. Whatever else has no line fails.
"""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, get_args
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from httpx2 import Response
from openapi_schema_validator import OAS31Validator
from pydantic import TypeAdapter
from webauthn.helpers import decode_credential_public_key
from webauthn.helpers.decoded_public_key_to_cryptography import decoded_public_key_to_cryptography
from webauthn.helpers.structs import AuthenticatorAttachment, AuthenticatorTransport

from app.accounts import password_strength
from app.api import examples
from app.api.admin.access_keys import AccessKeyId
from app.auth import ceremony, codes, oidc, recovery_codes, rotation, totp
from app.auth.ceremony import Assertion, Attestation
from app.auth.providers import Provider
from app.auth.tokens import AccessTokens
from app.crypto.encoding import b64url, unb64url
from app.crypto.identity_keys import identity_keys, verify_identity_token
from app.crypto.jws import generate_key_pair, verification_key
from app.crypto.totp import totp_uri
from app.http.wire import Moment, Timestamp
from app.mail.bounds import Kind
from app.platform import cursors
from app.platform.settings import OidcProvider
from app.policy import cdn_policy, session_policy
from app.records import addresses, single_use
from app.records.audit import Event
from app.records.outgoing import EventType
from app.sharing import links
from app.vending import s3_calls, tickets
from tests.policy.cloudfront import decoded
from tests.support import authenticator as authenticator_app
from tests.support.clock import ManualClock
from tests.support.databases import SqliteDatabases
from tests.support.openapi import openapi
from tests.support.passkey_keeper import Authenticator as Keeper
from tests.support.service import Service, running_service, test_settings

Json = dict[str, Any]

DOCUMENT = openapi()
SCHEMAS: Json = DOCUMENT["components"]["schemas"]
NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
EMAIL, FRIENDS_EMAIL = "ada@example.org", "bob@example.org"
CLIENT_ID = "org.example.photos"
SETTINGS: Json = {
    "public_url": examples.ISSUER,
    "mail_from": f"{examples.SERVICE_NAME} <mail@tokens.example.org>",
    "allowed_hosts": ("testserver",),
    "AWS_REGION": "eu-central-1",
    "bucket": "photos",
    "s3_public_endpoint_url": "https://s3.eu-central-1.amazonaws.com",
    "cdn_url": "https://cdn.example.org",
    "cdn_key_pair_id": "K2JCJMDEHXQW5F",
    "webhook_url": "http://127.0.0.1:1/told",
    "webhook_secret": ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",),
    "oidc_providers": {"apple": {"issuer": "https://appleid.apple.com", "client_ids": (CLIENT_ID,)}},
}
APPLE_KEY = {
    "kty": "RSA",
    "kid": "fh6Bs8C",
    "use": "sig",
    "alg": "RS256",
    "e": "AQAB",
    "n": "vQJT80u_ywmIX5UZS0FSSYkhCmTKUca0Fd5wZXj0F5BR_JyU7y9hmQHLPDy8SqGwJQspiCx1pKoHx2-2g8PUyxT9qABE0Sl7zCxZR3V5G"
    "-9PQGGvl87HsGPCdU5CTbOhgrz0z01obnwwSd9T7qt2Doi-VTBtY2YNvj5S-V0giFi2RCcZkNwpqmR2yNj7AB0TFq8VxI8YmxFIX4Yz04zdRwYpQDml1D-IjL"
    "5toqqmJpP__oi_ULPVko3HpiTpTE_P9UGliGGpCX8WgzcfVp0QJq_u1mk6HeZow0N4zDDJZ0Fd7FxhehBdt7V-o_NDM0xqr04G7RNKGso8YNY495tI"
    "jQ",
}
"""Made for the example; nobody has the private half."""


CDN_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx0IK+BAARhxuOKsF8qf+
ivx1zrwGp703u1Zf1dyS7F0mN573fcNAkWyyrGo4vI0lJwb5HbVuvZB/4nJe5wbp
S7Hxd24kG96P8Ei1XnD7XRR7dqwOpQK2J4ZqrMR94QSBjAjQuLSDVVvb3GetUpIK
QJ16OtrAoxVd+Ei2GqwCEb/Em8j5XCsYSfQCFp/JpLGouJyx9fESo2KgFS5Io0KO
O2CTd+lhhQtCYBm3/V6RddRB7QebjFZhTUS/ZfCo82s0VsXvFspinzG7dEUY28Dt
P6BVMUB8SltzOp/H99r9oegko1hk+c26E3899ujZSGj2+LZzReGJq0IOxIk/24sx
nwIDAQAB
-----END PUBLIC KEY-----
"""
"""The same, of what is shown of the CDN."""


@dataclass(frozen=True)
class Example:
    place: str
    """`Model.member`, `operation.parameter` or `header.name`."""
    schema: Json
    value: Any

    @property
    def member(self) -> str:
        return self.place.partition(".")[2]


def walk(node: Any, place: str = "") -> Iterator[Example]:
    """Every example, wherever it stands."""
    if isinstance(node, list):
        for part in node:
            yield from walk(part, place)
    elif isinstance(node, dict):
        if "operationId" in node:
            place = node["operationId"]
        elif "in" in node and "name" in node:
            place = f"{place}.{node['name']}"
        yield from (Example(place, node, value) for value in shown_by(node))
        for name, part in node.items():
            if name not in ("example", "examples"):
                yield from walk_member(name, part, place)


def walk_member(name: str, part: Any, place: str) -> Iterator[Example]:
    within = {"schemas": "", "properties": f"{place}.", "headers": "header."}
    if name in within:
        for member, schema in part.items():
            yield from walk(schema, within[name] + member)
    else:
        yield from walk(part, place)


def shown_by(node: Json) -> list[Any]:
    """Whole bodies are sent by tests/pages/test_docs.py."""
    if "schema" in node:
        return []
    assert isinstance(node.get("examples", []), list), node
    return [*node.get("examples", ()), *([node["example"]] if "example" in node else ())]


EXAMPLES = list(walk(DOCUMENT))
SHOWN: Json = {example.place: example.value for example in EXAMPLES}


def is_uuid(value: str) -> bool:
    return str(UUID(value)) == value and UUID(value).version == 4


def is_moment(value: str) -> bool:
    """As the service writes it, and reads it."""
    moment = TypeAdapter(Moment).validate_python(value)
    return bool(TypeAdapter(Timestamp).dump_python(moment, mode="json") == value)


def is_token(prefix: str) -> Callable[[str], bool]:
    """256 bits after the prefix."""
    return lambda value: value.startswith(prefix) and len(unb64url(value.removeprefix(prefix))) == 32


def is_contributor_token(value: str) -> bool:
    return re.fullmatch(rf"{links.CONTRIBUTOR_PREFIX}[\w-]{{22}}", value) is not None


def is_challenge(value: str) -> bool:
    return is_token(single_use.PREFIX)(unb64url(value).decode())


def is_recovery_codes(value: list[str]) -> bool:
    """As many as there are, each in capitals and groups."""
    groups = [code.split("-") for code in value]
    sizes = {len(base64.b32decode(codes.plain(code))) for code in value}
    of_four = all(len(part) == recovery_codes.GROUP for parts in groups for part in parts)
    return len(set(value)) == recovery_codes.HOW_MANY and sizes == {recovery_codes.SIZE} and of_four


def is_cursor(value: str) -> bool:
    return cursors.encode(*cursors.decode(value, UUID)) == value


def is_audit_cursor(value: str) -> bool:
    return cursors.encode(*cursors.decode(value, int)) == value


def is_number(value: str) -> bool:
    return value.isascii() and value.isdigit()


def is_request_id(value: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", value) is not None


def is_address(value: str) -> bool:
    return addresses.parse(value).text == value


def is_prefix(value: str) -> bool:
    return session_policy._PREFIX.match(value) is not None


def is_folder(value: str) -> bool:
    return session_policy._FOLDER.match(value) is not None


def is_strong(value: str) -> bool:
    password_strength.check_strength(value, min_length=8, context=("ada@example.org", "Ada"))
    return True


def is_key_id(value: str) -> bool:
    """That of a temporary key: AWS's begin with ASIA."""
    return (
        TypeAdapter(AccessKeyId).validate_python(value) == value and re.fullmatch("ASIA[A-Z0-9]{16}", value) is not None
    )


Check = Callable[[Any], object]

FORMS: Mapping[str, Check] = {
    "AuditEntry.id": is_number,
    "AuditPage.next_cursor": is_audit_cursor,
    "Contributor.token": is_contributor_token,
    "ExportedContribution.prefix": is_folder,
    "OpenedLink.write_prefix": is_folder,
    "ExportedGrant.prefix": is_folder,
    "Grant.prefix": is_folder,
    "IdentityPage.next_cursor": lambda value: value is None,
    "PasskeyPage.next_cursor": lambda value: value is None,
    "OutgoingEventView.body": lambda value: list(json.loads(value)) == ["id", "type", "timestamp", "data"],
    "OutgoingEventView.fault": lambda value: re.fullmatch(r"status \d{3}|\w+", value) is not None,
    "OutgoingEventView.type": lambda value: value in get_args(EventType),
    "ReceivedGrant.prefix": is_folder,
    "UserImport.next_cursor": is_number,
    "get_user_import.cursor": is_number,
    "header.Retry-After": lambda value: type(value) is int and value > 0,
    "header.X-Request-ID": is_request_id,
    "list_audit_events.cursor": is_audit_cursor,
    "list_user_audit_events.cursor": is_audit_cursor,
    "AccessKeyId": is_key_id,
    "access_key_id": is_key_id,
    "account": lambda value: re.fullmatch("[0-9]{12}", value) is not None,
    "cursor": is_cursor,
    "decoded_message": lambda value: type(json.loads(value)["allowed"]) is bool,
    "actor_email": is_address,
    "author_email": is_address,
    "email": is_address,
    "subject_email": is_address,
    "event": lambda value: value in get_args(Event),
    "NewLink.url": lambda value: re.fullmatch(rf"\S+/album#{links.PREFIX}[\w-]{{22}}", value) is not None,
    "grantee_email": is_address,
    "kind": lambda value: value in get_args(Kind),
    "mfa_token": is_token(single_use.PREFIX),
    "next_cursor": is_cursor,
    "nonce": is_token(single_use.PREFIX),
    "last_address": ip_address,
    "other_email": is_address,
    "owner_email": is_address,
    "prefix": is_prefix,
    "recipient": is_address,
    "recovery_codes": is_recovery_codes,
    "refresh_token": is_token(rotation.PREFIX),
    "request_id": is_request_id,
    "secret": lambda value: len(base64.b32decode(value)) == totp.SECRET_SIZE,
    "shared_prefixes": lambda value: all(map(is_folder, value)),
    "write_prefixes": lambda value: all(map(is_folder, value)),
    "transports": lambda value: value and {AuthenticatorTransport(transport) for transport in value},
}
FREE = {
    "AddNoteRequest.text",
    "ExportedNote.text",
    "LinkContributor.name",
    "ExportedPasskey.name",
    "OwnedPasskey.name",
    "PasskeyRegistrationRequest.name",
    "PasskeyRenameRequest.name",
    "UserNote.text",
    "authorization_code",
    "contributor_name",
    "device_name",
    "label",
    "displayName",
    "actor_name",
    "display_name",
    "owner_display_name",
    "query",
    "subject_name",
    "reason",
}


def jwk_with(member: str) -> Check:
    """The public key that is shown, named by its thumbprint (RFC 7638)."""

    def check(value: str) -> bool:
        jwk = {name: SHOWN[f"JsonWebKey.{name}"] for name in SCHEMAS["JsonWebKey"]["properties"]} | {member: value}
        return is_named_by_thumbprint(jwk)

    return check


def is_named_by_thumbprint(jwk: Mapping[str, str]) -> bool:
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return verification_key(jwk) is not None and jwk["kid"] == b64url(sha256(text.encode()).digest())


def is_access_token(value: str) -> bool:
    """Of the user and session that are shown, by the key that is shown."""
    jwk = {name: SHOWN[f"JsonWebKey.{name}"] for name in SCHEMAS["JsonWebKey"]["properties"]}
    keyring: Any = SimpleNamespace(verification_keys=lambda: {jwk["kid"]: verification_key(jwk)})
    claims = AccessTokens(keyring, ManualClock(NOW), issuer=examples.ISSUER).verify(value)
    return (claims.user_id, str(claims.session_id)) == (examples.USER_ID, SHOWN["TokenSet.session_id"])


def identity_in(id_token: str) -> oidc.OutsideIdentity:
    keys = identity_keys(json.dumps({"keys": [APPLE_KEY]}).encode())
    fetcher: Any = None
    apple = OidcProvider.model_validate(SETTINGS["oidc_providers"]["apple"])
    claims = verify_identity_token(id_token, keys=keys)
    return oidc._identity(
        Provider("apple", apple.issuer, apple.client_ids, fetcher=fetcher, clock=ManualClock(NOW)),
        claims,
        NOW.timestamp(),
    )


def is_id_token(value: str) -> bool:
    """Of the outside identity that is shown, for the nonce that is shown."""
    found = identity_in(value)
    shown = [SHOWN[f"ExportedIdentity.{name}"] for name in ("issuer", "subject", "email")]
    nonce = sha256(SHOWN["OidcNonce.nonce"].encode()).hexdigest()
    return [found.issuer, found.subject, found.email, found.nonce_digest] == [*shown, nonce]


PARTY = ceremony.relying_party(test_settings(**SETTINGS))
MADE, GIVEN = "AttestationResponse", "AssertionResponse"


def made_passkey(**changes: str) -> ceremony.NewPasskey:
    """What the browser gave when the passkey was made, as an answer to the challenge that is shown."""
    said = {name: SHOWN[f"{MADE}.{name}"] for name in ("clientDataJSON", "attestationObject")}
    said |= {"id": SHOWN["RegistrationCredential.id"], "challenge": SHOWN["PasskeyCreationOptions.challenge"]} | changes
    attestation = Attestation(said["id"], said["clientDataJSON"], said["attestationObject"])
    return ceremony.verify_attestation(attestation, challenge=unb64url(said["challenge"]).decode(), party=PARTY)


def given_passkey(**changes: str) -> ceremony.Seen:
    """The same passkey, as an answer to the challenge of a sign-in that is shown."""
    said = {
        name: SHOWN[f"{GIVEN}.{name}"] for name in ("clientDataJSON", "authenticatorData", "signature", "userHandle")
    }
    said |= {
        "id": SHOWN["AuthenticationCredential.id"],
        "challenge": SHOWN["PasskeyRequestOptions.challenge"],
    } | changes
    names = ("id", "clientDataJSON", "authenticatorData", "signature", "userHandle")
    passkey = made_passkey()
    return ceremony.verify_assertion(
        Assertion(*(said[name] for name in names)),
        challenge=unb64url(said["challenge"]).decode(),
        party=PARTY,
        public_key=passkey.public_key,
        sign_count=passkey.sign_count,
        may_move=False,
        user_handle=examples.USER_ID.bytes,
        named=False,
    )


def is_passkeys_data(value: str) -> bool:
    return unb64url(value) in unb64url(SHOWN[f"{MADE}.attestationObject"])


def is_passkeys_key(value: str) -> bool:
    """The one that the service keeps, as browsers give it besides: SubjectPublicKeyInfo."""
    key = decoded_public_key_to_cryptography(decode_credential_public_key(made_passkey().public_key))
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return unb64url(value) == key.public_bytes(*form)


def is_signed_for_the_cdn(value: str) -> bool:
    """For the folder and the end that are shown, by the key that is shown."""
    given = dict(part.split("=", 1) for part in value.split("&"))
    policy, signature = (decoded(given[name]) for name in ("Policy", "Signature"))
    until = datetime.fromisoformat(SHOWN["Download.expires_at"])
    shown = [SETTINGS["cdn_url"], SHOWN["Download.prefix"]]
    key: Any = serialization.load_pem_public_key(CDN_KEY.encode())
    key.verify(signature, policy, padding.PKCS1v15(), hashes.SHA1())
    return (
        list(given) == ["Policy", "Signature", "Key-Pair-Id"]
        and policy.decode() == cdn_policy.policy(*shown, until)
        and given["Key-Pair-Id"] == SETTINGS["cdn_key_pair_id"]
    )


SCENE: Mapping[str, Check] = {
    "OpenLinkRequest.secret": lambda value: SHOWN["NewLink.url"].endswith(f"/album#{value}"),
    "OpenedLink.path_name": lambda value: value == SHOWN["LinkRequest.path"].split("/")[-2],
    "Download.query": is_signed_for_the_cdn,
    "person": is_address,
    "AccessCheckRequest.action": lambda value: value in session_policy.OBJECT_ACTIONS["read"],
    "AssertionResponse.authenticatorData": lambda value: given_passkey(authenticatorData=value),
    "AssertionResponse.clientDataJSON": lambda value: given_passkey(clientDataJSON=value),
    "AttestationResponse.authenticatorData": is_passkeys_data,
    "AttestationResponse.clientDataJSON": lambda value: made_passkey(clientDataJSON=value),
    "AuthenticationCredential.id": lambda value: given_passkey(id=value),
    "AuthenticationCredential.rawId": lambda value: given_passkey(id=value),
    "ExportedIdentity.issuer": lambda value: value == SETTINGS["oidc_providers"]["apple"]["issuer"],
    "ExportedIdentity.subject": lambda value: value == identity_in(SHOWN["LinkIdentityRequest.id_token"]).subject,
    "PasskeyCreationOptions.challenge": lambda value: is_challenge(value) and made_passkey(challenge=value),
    "PasskeyDescriptor.id": lambda value: given_passkey(id=value),
    "PasskeyRequestOptions.challenge": lambda value: is_challenge(value) and given_passkey(challenge=value),
    "PasskeyUser.id": lambda value: unb64url(value) == examples.USER_ID.bytes,
    "ReceivedGrant.path": lambda value: (
        SHOWN["ReceivedGrant.prefix"] == session_policy.narrowed_prefix(examples.FRIEND_ID, value)
    ),
    "UploadTicketRequest.path": lambda value: (
        session_policy.object_key(examples.USER_ID, value) == SHOWN["UploadTicket.key"]
    ),
    "S3Header.name": lambda value: any(
        one.header == value for one in s3_calls.asks("s3:PutObject", "key", {value: "value"}, "photos")
    ),
    "S3Header.value": lambda value: value == "public-read",  # one of the ACLs that S3 has names for
    "SecretAccessKey": lambda value: len(base64.b64decode(value, validate=True)) == 30,
    "Token": lambda value: base64.b64decode(value, validate=True),
    "access_token": is_access_token,
    "address": ip_address,
    "attestationObject": lambda value: made_passkey(attestationObject=value),
    "authenticatorAttachment": AuthenticatorAttachment,
    "code": lambda value: re.fullmatch("[0-9]{6}", codes.plain(value)) and codes.plain(value) == value.replace(" ", ""),
    "content_type": lambda value: re.search(tickets.MEDIA_TYPE, value),
    "contributor_token": is_contributor_token,
    "current_password": is_strong,
    "encoded_message": lambda value: base64.b64decode(value, altchars=b"-_", validate=True),
    "id": lambda value: made_passkey(id=value),
    "id_token": is_id_token,
    "key": lambda value: value == SHOWN["Profile.prefix"] + SHOWN["UploadTicketRequest.path"],
    "kid": jwk_with("kid"),
    "new_email": is_address,
    "new_password": is_strong,
    "otpauth_uri": lambda value: (
        value == totp_uri(SHOWN["TotpEnrolment.secret"], issuer=examples.SERVICE_NAME, account=EMAIL)
    ),
    "password": is_strong,
    "path": lambda value: SHOWN["Grant.prefix"] == session_policy.narrowed_prefix(examples.USER_ID, value),
    "provider": lambda value: value in test_settings(**SETTINGS).oidc_providers,
    "publicKey": is_passkeys_key,
    "role_arn": lambda value: re.fullmatch(r"arn:aws:iam::[0-9]{12}:role/[\w-]+", value),
    "rawId": lambda value: made_passkey(id=value),
    "secret_access_key": lambda value: len(base64.b64decode(value, validate=True)) == 30,
    "session_token": lambda value: base64.b64decode(value, validate=True),
    "signature": lambda value: given_passkey(signature=value),
    "token": is_token(single_use.PREFIX),
    "userHandle": lambda value: given_passkey(userHandle=value),
    "x": jwk_with("x"),
    "y": jwk_with("y"),
}
ANSWERED = {
    "UserActResult.code",
    "UserActResult.detail",
    "AccessCheck.detail",
    "AccessCheck.statement",
    "AuditDetail.name",
    "AuditDetail.value",
    "Download.base_url",
    "DownloadCookie.name",
    "DownloadCookie.value",
    "FindingView.name",
    "FindingView.repair",
    "FindingView.text",
    "PartHealth.part",
    "PartHealth.state",
    "ProviderView.client_ids",
    "ProviderView.issuer",
    "ProviderView.name",
    "SettingView.description",
    "SettingView.name",
    "SettingView.value",
    "FieldError.code",
    "FieldError.location",
    "FieldError.message",
    "PasskeyRelyingParty.id",
    "PasskeyRelyingParty.name",
    "PasskeyUser.name",
    "Problem.detail",
    "Problem.status",
    "Problem.title",
    "Problem.type",
    "UploadField.name",
    "UploadField.value",
    "UserImportHashes.kind",
    "UserImportPreview.problem",
    "UserImportProblem.code",
    "UserImportProblem.message",
    "alg",
    "bucket",
    "crv",
    "end_reason",
    "endpoint_url",
    "id_token_signing_alg_values_supported",
    "issuer",
    "jwks_uri",
    "kty",
    "region",
    "response_types_supported",
    "rpId",
    "subject_types_supported",
    "url",
    "use",
}


class Recorder:
    """What the service answered, by the place that it has in the document."""

    def __init__(self) -> None:
        self._answers: list[tuple[Json, str]] = []
        self.values: dict[str, list[Any]] = defaultdict(list)

    def record(self, response: Response) -> None:
        response.read()
        self.values["header.X-Request-ID"].append(response.headers["x-request-id"])
        if response.text and "json" in response.headers["content-type"]:
            self._answers.append((schema_of(response), response.text))

    def finish(self, replaced: Mapping[str, str]) -> None:
        """Files the answers. Ids that were made by chance become those of the examples."""
        for schema, body in self._answers:
            text = body
            for shown, made in replaced.items():
                text = text.replace(made, shown)
            for place, value in texts(schema, json.loads(text)):
                self.values[place].append(value)


def schema_of(response: Response) -> Json:
    """What the document says of the answer."""
    if response.status_code >= 400:
        return SCHEMAS["Problem"] | {"name": "Problem"}
    method, path = response.request.method.lower(), response.request.url.path
    for template, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method in operations:
            answer = operations[method]["responses"][str(response.status_code)]
            schema: Json = answer["content"]["application/json"]["schema"]
            return schema
    raise LookupError(path)


def texts(schema: Json, value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no model itself, and where it stands."""
    if value is None and "anyOf" in schema:
        return
    (schema, *_) = schema.get("anyOf", [schema])
    if "$ref" in schema:
        place = schema["$ref"].rpartition("/")[2]
        schema = SCHEMAS[place]
    if "properties" in schema:
        for member in schema["properties"].keys() & value.keys():
            part = schema["properties"][member]
            yield from texts(part, value[member], f"{schema.get('name', place)}.{member}")
    elif "$ref" in schema.get("items", ()):
        for one in value:
            yield from texts(schema["items"], one)
    else:
        yield place, value


def tell_a_story(service: Service) -> dict[str, str]:
    """One evening of Ada's, which most of what is shown comes from; whom the examples stand for."""
    service.client.post("/v1/users", json={"email": EMAIL, "password": "violet"})
    service.register(EMAIL, display_name="Ada")
    ada, bob, admin = service.device(EMAIL), service.device(FRIENDS_EMAIL), service.staff(email="admin@example.org")
    elsewhere = service.device(EMAIL)
    ada.get("/v1/me/sessions", params={"limit": 1})
    elsewhere.delete(f"/v1/me/sessions/{elsewhere.session_id}")
    own = f"users/{ada.user_id}/"
    for giver, getter, path in ((ada, FRIENDS_EMAIL, "albums/2026/"), (bob, EMAIL, "trips/")):
        for folder in (path, f"{path}old/"):
            wish = {"grantee_email": getter, "path": folder, "expires_at": "2026-12-24T18:00:00Z"}
            giver.post("/v1/grants", wish | {"access": "contribute"})
    ada.get("/v1/grants", params={"limit": 1})
    received = ada.get("/v1/grants/received", params={"limit": 1}).json()["items"][0]["grant_id"]
    vended = ada.vend(include_shared=True, grant_ids=[received]).json()
    ada.get("/v1/credentials/container")
    ada.get("/v1/me/credentials", params={"limit": 1})
    ada.post("/v1/access-checks", {"action": "s3:GetObject", "key": f"{own}albums/2026/beach.jpg"})
    ada.post("/v1/uploads", {"path": "albums/2026/beach.jpg", "content_type": "image/jpeg", "size": 1})
    ada.post("/v1/downloads", {"grant_ids": []})
    service.client.post("/v1/auth/oidc/apple/nonce")
    keeper = Keeper(origin=examples.ISSUER)
    options = ada.post("/v1/me/passkeys/options").json()["options"]
    ada.post("/v1/me/passkeys", {"credential": keeper.create(options), "name": "Ada's phone"})
    ada.get("/v1/me/passkeys")
    service.client.post("/v1/auth/passkey/options", json={})
    app = authenticator_app.enable(ada)
    authenticator_app.answer(service, authenticator_app.challenge(ada), app.fresh_code())
    ada.get("/v1/me/identities")
    wish = {"path": "albums/2026/", "access": "contribute", "label": "For grandma"}
    link = ada.post("/v1/links", wish).json()["url"].partition("#")[2]
    service.client.post("/v1/links/open", json={"secret": link, "contributor_name": "Grandma"})
    service.client.post("/v1/links/report", json={"secret": link})
    ada.get("/v1/links", params={"limit": 1})
    ada.get("/v1/me/export")
    admin.get("/v1/admin/users", params={"limit": 1})
    for people in ("", f"/users/{ada.user_id}"):
        admin.get(f"/v1/admin{people}/audit-events", params={"limit": 1})
    admin.get(f"/v1/admin/users/{ada.user_id}/audit-events", params={"event": "session.started"})
    admin.get(f"/v1/admin/users/{ada.user_id}/sessions")
    admin.post("/v1/admin/user-acts", {"act": "unlock", "user_ids": [ada.user_id], "reason": "The phone was stolen."})
    admin.get(f"/v1/admin/users/{ada.user_id}/credentials")
    admin.post(f"/v1/admin/users/{ada.user_id}/notes", {"text": "Lost a phone on Monday, and called about it."})
    for part in ("notes", "grants/given", "grants/received"):
        admin.get(f"/v1/admin/users/{ada.user_id}/{part}")
    admin.post("/v1/admin/webhooks/test")
    for part in ("events", "links", "findings", "settings", "status", "signing-keys", "mails", "erasures"):
        admin.get(f"/v1/admin/{part}")
    admin.get(f"/v1/admin/access-keys/{vended['access_key_id']}")
    admin.post("/v1/admin/authorization-messages/decode", {"encoded_message": "tUqAvBJYqEXAMPLE"})
    rows = "".join(json.dumps({"email": f"{name}@example.org", "role": "admin"}) + "\n" for name in ("eve", "dan"))
    headers = {**admin.headers, "Content-Type": "application/x-ndjson"}
    imported = service.client.post("/v1/admin/user-imports", content=rows, headers=headers).json()
    admin.get(f"/v1/admin/user-imports/{imported['import_id']}", params={"limit": 1})
    bcrypt = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
    rows = json.dumps({"email": "fay@example.org", "password_hash": bcrypt}) + '\n{"email": "nobody"}\n'
    service.client.post("/v1/admin/user-imports", params={"dry_run": "true"}, content=rows, headers=headers)
    for path in ("openid-configuration", "jwks.json"):
        service.client.get(f"/.well-known/{path}")
    return {str(examples.USER_ID): ada.user_id, str(examples.FRIEND_ID): bob.user_id}


@pytest.fixture(scope="module")
def answered(sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Any]]:
    """What the service answered to the story, by place."""
    recorder, url = Recorder(), sqlite_databases.create(tmp_path_factory.mktemp("examples"))
    with running_service(url, clock=ManualClock(NOW), **SETTINGS) as service:
        service.client.event_hooks["response"].append(recorder.record)
        recorder.finish(tell_a_story(service))
    return recorder.values


TABLES: Mapping[str, Any] = {"FORMS": FORMS, "SCENE": SCENE, "ANSWERED": ANSWERED, "FREE": FREE}
FORMATS: Mapping[str, Check] = {"uuid": is_uuid, "date-time": is_moment}


def line_of(example: Example) -> tuple[str, str]:
    """Table and name of the line that holds the example: its own, that of its format, or that of its member's name.

    Raises LookupError for one that has none.
    """
    place, member = example.place, example.place.partition(".")[2]
    form = example.schema.get("format", example.schema.get("items", {}).get("format"))
    for name in (place, None, member):
        if name is None and form in FORMATS:
            return "FORMATS", form
        for table, lines in TABLES.items():
            if name in lines:
                return table, str(name)
    raise LookupError(f"{place} has an example: give it a line in the tables above")


def fits(check: Check, value: Any) -> bool:
    try:
        return bool(check(value))
    except Exception:  # noqa: BLE001 - each reader has its own way to refuse
        return False


def is_right(example: Example, answered: Mapping[str, list[Any]]) -> bool:
    """Whether the example can occur."""
    (table, name), value = line_of(example), example.value
    if table == "FREE":
        return isinstance(value, str)
    if table == "ANSWERED":
        return value in answered[example.place]
    if table == "FORMATS":
        one_by_one = value if isinstance(value, list) else [value]
        return all(one is None or fits(FORMATS[name], one) for one in one_by_one)
    return fits(TABLES[table][name], value)


class TestExamples:
    def test_can_occur(self, answered: Mapping[str, list[Any]]) -> None:
        assert [example for example in EXAMPLES if not is_right(example, answered)] == []

    def test_fit_their_schemas(self) -> None:
        checker = OAS31Validator.FORMAT_CHECKER
        for example in EXAMPLES:
            assert example.schema.get("format") in (None, *checker.checkers)
            errors = OAS31Validator(example.schema, format_checker=checker).iter_errors(example.value)
            assert list(errors) == [], example.place

    def test_would_not_go_unseen_if_they_were_broken(self, answered: Mapping[str, list[Any]]) -> None:
        """With a character too many, and with a wrong one at their end. Text and passwords are anybody's to choose."""
        seen = 0
        for example in EXAMPLES:
            table, name = line_of(example)
            if isinstance(example.value, str) and table != "FREE" and SCENE.get(name) is not is_strong:
                for broken in (example.value + "~", example.value[:-1] + "~"):
                    assert not is_right(replace(example, value=broken), answered), (
                        example.place,
                        broken,
                    )
                    seen += 1
        assert seen > 300

    def test_show_every_text_and_parameter(self) -> None:
        for name, schema in SCHEMAS.items():
            for member, part in schema.get("properties", {}).items():
                if "string" in str(part.get("type")) + str(part.get("items", {}).get("type")):
                    assert f"{name}.{member}" in SHOWN
        for operations in DOCUMENT["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["schema"].get("type") == "string":
                        assert f"{operation['operationId']}.{parameter['name']}" in SHOWN

    def test_all_are_in_the_document(self) -> None:
        members = {place.partition(".")[2] for place in SHOWN}
        assert {name for name in examples.EXAMPLES if name not in SHOWN and name not in members} == set()

    def test_agree_with_each_other(self) -> None:
        places: dict[str, set[str]] = defaultdict(set)
        for example in EXAMPLES:
            if example.schema.get("format") == "uuid" and example.value is not None:
                places[example.value].add(example.place.rpartition(".")[2])
        assert places.pop(str(examples.USER_ID)) == {
            "id",
            "user_id",
            "user",
            "actor",
            "actor_id",
            "owner_id",
            "subject",
            "subject_id",
        }
        assert all(len(names) == 1 for names in places.values()), places
        assert SHOWN["Grant.prefix"] == session_policy.narrowed_prefix(examples.USER_ID, SHOWN["Grant.path"])
        assert SHOWN["ReceivedGrant.prefix"] == session_policy.narrowed_prefix(
            examples.FRIEND_ID, SHOWN["ReceivedGrant.path"]
        )
        assert SHOWN["Credentials.shared_prefixes"] == [SHOWN["ReceivedGrant.prefix"]]
        contributed = session_policy.contribution_prefix(SHOWN["ReceivedGrant.prefix"], examples.USER_ID)
        assert SHOWN["Credentials.write_prefixes"] == [contributed]
        assert SHOWN["ExportedContribution.prefix"] == contributed
        assert SHOWN["Profile.prefix"] == session_policy.user_prefix(examples.USER_ID)
        assert SHOWN["CredentialsRequest.grant_ids"] == [SHOWN["ReceivedGrant.grant_id"]]

    def test_are_in_the_order_of_time(self) -> None:
        pairs = [
            ("created_at", "last_used_at"),
            ("created_at", "expires_at"),
            ("issued_at", "revoked_at"),
            ("issued_at", "expiration"),
            ("server_time", "expiration"),
            ("started_at", "updated_at"),
            ("updated_at", "finished_at"),
            ("last_used_at", "ended_at"),
            ("after", "before"),
        ]
        for model in {place.partition(".")[0] for place in SHOWN}:
            for earlier, later in pairs:
                if {f"{model}.{earlier}", f"{model}.{later}"} <= SHOWN.keys():
                    assert SHOWN[f"{model}.{earlier}"] <= SHOWN[f"{model}.{later}"], (model, later)


class TestTables:
    def test_have_no_line_that_nothing_uses(self) -> None:
        used = {line_of(example) for example in EXAMPLES}
        assert used >= {(table, name) for table, lines in TABLES.items() for name in lines}

    def test_say_what_the_service_really_answers(self, answered: Mapping[str, list[Any]]) -> None:
        """Whatever the service answered has the form that is asked of its example."""
        seen = set()
        for example in EXAMPLES:
            table, name = line_of(example)
            if table in ("FORMS", "FORMATS"):
                given = answered.get(example.place, ())
                for value in given if example.value is None else filter(None, given):
                    assert is_right(replace(example, value=value), answered), (example.place, value)
                    seen.add(name)
        requests_alone = {name for name in FORMS if name.endswith("cursor") and "_" in name.split(".")[0]}
        assert FORMS.keys() - seen <= requests_alone | {"header.Retry-After", "cursor"}

    def test_know_a_key_that_the_service_makes(self) -> None:
        assert is_named_by_thumbprint(generate_key_pair().public_jwk)

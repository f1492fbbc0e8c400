"""What the members of requests and answers look like: for the OpenAPI document, its pages and its readers.

All of it is one evening of one user. Ada shares `albums/2026/` with Bob, and Bob shares `trips/` with her. Her token
verifies by the key that is shown, her passkey answers the challenges that are shown, and both name her id. The private
keys were thrown away. `tests/api/test_examples.py` holds every example against the code that makes or reads such a
value.

An example stands by the name of its member, by `Model.member` or `operation.parameter` where that would not fit.
"""

from datetime import UTC, datetime
from uuid import UUID

from app.crypto import cdn_signatures
from app.http.edge import problem_document
from app.http.wire import rfc3339
from app.platform import cursors
from app.platform.problems import FieldError, WeakPassword
from app.policy import cdn_policy, session_policy

USER_ID = UUID("4fa0c1de-7d3b-4a52-9b0e-6a3f1c2d8e90")
FRIEND_ID = UUID("2b60e8cc-0236-4b96-8b13-67c614ae7c36")
GRANT_ID = "7c1d5e90-2b64-4f0a-8d3e-5a6f7b8c9d01"
LINK_ID = "5b0a4f7e-91c3-4d27-8a64-0f2e3d4c5b6a"
CONTRIBUTOR_ID = "e1f7c2a4-6b3d-4958-a0c7-9d8e2f1b4a63"
STAFF_ID = "d830c1a8-cdaf-4e86-bfab-875cdf23f585"
REQUEST_ID = "faccdb215ec1e3ab2a7fdf4a973ef23c"
ISSUER = "https://tokens.example.org"
RELYING_PARTY = "tokens.example.org"
SERVICE_NAME = "Photos"

_CREATED_AT = "2026-11-23T17:45:00Z"
_NOW = "2026-11-23T18:00:00Z"
_LATER = "2026-11-23T18:10:00Z"
_EXPIRATION = "2026-11-23T19:00:00Z"
_CREATED = datetime(2026, 11, 23, 17, 45, tzinfo=UTC)

_PREFIX = session_policy.user_prefix(USER_ID)
_FOLDER = session_policy.narrowed_prefix(USER_ID, "albums/2026/")
_SHARED_FOLDER = session_policy.narrowed_prefix(FRIEND_ID, "trips/")
_CONTRIBUTED = session_policy.contribution_prefix(_SHARED_FOLDER, USER_ID)
_KEY_ID = "ASIAIOSFODNN7EXAMPLE"
_SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's own in its pages
_SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"  # noqa: S105 - the same, shortened
_ADDRESS = "ada@example.org"
_FRIENDS_ADDRESS = "bob@example.org"
_PASSWORD = "violet tractor moonlight"  # noqa: S105 - nobody's
_DEVICE = "Ada's phone"
_NOTE = "Lost a phone on Monday, and called about it."

_TOTP_SECRET = "3ZD4CB6CX54KSC5AA3HCY5WBYKC2ZQDH"  # noqa: S105
_LINK_SECRET = "tvl_w3Xq0m5sYk2Jp8Zt4hVbLg"  # noqa: S105 - of no link
_CONTRIBUTOR_TOKEN = "tvc_8mLd2VqKx0Rn5TzYc7WbAg"  # noqa: S105 - of nobody
_CONTRIBUTOR = "Grandma"
_SESSION_ID = "b3a1f0c2-5d64-4e7a-9c18-2f0d6b7e8a91"

_APPLE = "https://appleid.apple.com"
_APPLE_SUBJECT = "001234.0f4c2b1d9a7e4f538c6d2e1b0a9f7e65.0815"

_CREDENTIAL_ID = "4S1lrX1cUjTGOtkE2rMLVA"
_USER_HANDLE = "T6DB3n07SlKbDmo_HC2OkA"
_CREATION_CHALLENGE = "dHZzXzNiNVdmbkVxZkstNldGa2FCYlp1VlppRUV5d2JyTWtPSTBwRHp2d3NPOFE"
_SIGN_IN_CHALLENGE = "dHZzX3NpZlBpNW44N2g4NXQ1SWJZRWpXRDZ4bnhCVHkyRWtLSm15V1dPbWhxLTg"

_CDN_URL = "https://cdn.example.org"
_KEY_PAIR_ID = "K2JCJMDEHXQW5F"
_SIGNED_UNTIL = datetime(2026, 11, 23, 18, 15, tzinfo=UTC)
_CDN_SIGNATURE = (
    "Jhp3KPLBsjrUskSawfganOe-g9YLelcWAwT0uVkPVDG9fPhf4qwBrvU5vouNAAW37X2btgHkFeLE7s~BDO64e5bvpx3bVT2KKTWUM8lAStGQNc"
    "4tnUHliShz2m-ayI0rDVQghkr2hGxa7ibhSg2qOmaVr0iE8mFXWRfnY~bF2iokq1ACM8TRaBqcVn-YH4apOzuGjSQJYGJYfrTzNHOG0ziJTHlx"
    "pKL7U5yvVofLR2-vGkVBL6UgKXsfU-Oe-jZNYrqFd1bCrlWorofo8AjVeoZl2qGkEegKq91HoWEGLpb73V5mry2TYH5c273eKo6fZOdQ1NIHL-"
    "pg0zBOb0Z~UQ__"
)

_REFUSAL = problem_document(
    WeakPassword(errors=[FieldError("body.password", "too_short", "Use 8 characters or more.")]), REQUEST_ID
)
_WRONG_MEMBER = _REFUSAL["errors"][0]
_CURSOR = cursors.encode(_CREATED, UUID(_SESSION_ID))
_AUDIT_CURSOR = cursors.encode(_CREATED, 81_733)

EXAMPLES: dict[str, object] = {
    "AccessCheck.detail": (
        "Both policies allow this. A 403 has another cause then: a wrong clock, a wrong signature, the bucket's own "
        "policy, or a missing object that the credential may not list."
    ),
    "AccessCheck.statement": (
        '{"Sid":"Objects","Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:AbortMultipartUpload",'
        '"s3:ListMultipartUploadParts","s3:DeleteObject","s3:GetObjectTagging"],'
        f'"Resource":"arn:aws:s3:::photos/{_PREFIX}*"}}'
    ),
    "AccessCheckRequest.action": "s3:GetObject",
    "AdminUser.id": str(USER_ID),
    "AssertionResponse.authenticatorData": "p-_fxUETcHbsxmX0PLMsWDXTz77a_V3XsnMKgau9s_8dAAAAAA",
    "AssertionResponse.clientDataJSON": (
        "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiZEhaelgzTnBabEJwTlc0NE4yZzROWFExU1dKWlJXcFhSRFo0Ym5oQ1ZIa3lSV"
        "3RMU20xNVYxZFBiV2h4TFRnIiwib3JpZ2luIjoiaHR0cHM6Ly90b2tlbnMuZXhhbXBsZS5vcmciLCJjcm9zc09yaWdpbiI6ZmFsc2V9"
    ),
    "AttestationResponse.authenticatorData": (
        "p-_fxUETcHbsxmX0PLMsWDXTz77a_V3XsnMKgau9s_9dAAAAAAAAAAAAAAAAAAAAAAAAAAAAEOEtZa19XFI0xjrZBNqzC1SlAQIDJiABIVgg9d"
        "3JM9GFCtK7wnjoagWQkn8fYqKfntzH2DaBAoSw4r8iWCDm0xF2JPCluPrKhb710qWuOkcAj-uZSpKARGyLIhdWhA"
    ),
    "AttestationResponse.clientDataJSON": (
        "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiZEhaelh6TmlOVmRtYmtWeFprc3RObGRHYTJGQ1lscDFWbHBwUlVWNWQyS"
        "nlUV3RQU1RCd1JIcDJkM05QT0ZFIiwib3JpZ2luIjoiaHR0cHM6Ly90b2tlbnMuZXhhbXBsZS5vcmciLCJjcm9zc09yaWdpbiI6ZmFsc2V9"
    ),
    "AuditDetail.name": "method",
    "AuditDetail.value": "password",
    "AuditEntry.id": "81733",
    "AuditPage.next_cursor": _AUDIT_CURSOR,
    "Download.base_url": cdn_policy.folder_url(_CDN_URL, _PREFIX),
    "Download.expires_at": rfc3339(_SIGNED_UNTIL),
    "Download.query": (
        f"Policy={cdn_signatures.in_urls(cdn_policy.policy(_CDN_URL, _PREFIX, _SIGNED_UNTIL).encode())}"
        f"&Signature={_CDN_SIGNATURE}&Key-Pair-Id={_KEY_PAIR_ID}"
    ),
    "DownloadCookie.name": "CloudFront-Key-Pair-Id",
    "DownloadCookie.value": _KEY_PAIR_ID,
    "AccessKeyIssuance.link_id": None,
    "ExportedCredential.link_id": None,
    "Contributor.id": CONTRIBUTOR_ID,
    "ExportedContribution.prefix": _CONTRIBUTED,
    "ExportedGrant.accepted_at": None,
    "ExportedGrant.prefix": _FOLDER,
    "ExportedIdentity.issuer": _APPLE,
    "ExportedIdentity.subject": _APPLE_SUBJECT,
    "ExportedLink.prefix": _FOLDER,
    "OpenedLink.path_name": "2026",
    "OutgoingEventView.body": (
        '{"id": "0f6e2c62-5c58-4d0b-9a53-5f1b7f4a2c11", "type": "session.started", "timestamp": '
        f'"{_NOW}", "data": {{"user_id": "{USER_ID}", "sequence": 2, "method": "password"}}}}'
    ),
    "OutgoingEventView.fault": "status 500",
    "OutgoingEventView.type": "session.started",
    "FieldError.code": _WRONG_MEMBER["code"],
    "FieldError.location": _WRONG_MEMBER["location"],
    "FieldError.message": _WRONG_MEMBER["message"],
    "FindingView.name": "migrations",
    "FindingView.repair": "",
    "FindingView.text": "up to date",
    "Grant.prefix": _FOLDER,
    "IdentityPage.next_cursor": None,
    "IssuedCredential.link_id": None,
    "LinkContributor.id": CONTRIBUTOR_ID,
    "LinkContributor.name": _CONTRIBUTOR,
    "Contributor.token": _CONTRIBUTOR_TOKEN,
    "OpenedLink.write_prefix": session_policy.contribution_prefix(_FOLDER, UUID(CONTRIBUTOR_ID)),
    "NewLink.url": f"{ISSUER}/album#{_LINK_SECRET}",
    "OpenLinkRequest.secret": _LINK_SECRET,
    "OidcNonce.expires_at": _LATER,
    "PasskeyCreationOptions.challenge": _CREATION_CHALLENGE,
    "PasskeyPage.next_cursor": None,
    "PasskeyRelyingParty.id": RELYING_PARTY,
    "PasskeyRelyingParty.name": SERVICE_NAME,
    "PasskeyRequestOptions.challenge": _SIGN_IN_CHALLENGE,
    "PasskeyUser.id": _USER_HANDLE,
    "PasskeyUser.name": _ADDRESS,
    "PartHealth.part": "database",
    "PartHealth.state": "ok",
    "Problem.detail": _REFUSAL["detail"],
    "Problem.status": _REFUSAL["status"],
    "Problem.title": _REFUSAL["title"],
    "Problem.type": _REFUSAL["type"],
    "Profile.id": str(USER_ID),
    "ProviderView.client_ids": ["org.example.photos"],
    "ProviderView.issuer": _APPLE,
    "ProviderView.name": "apple",
    "ReceivedGrant.path": "trips/",
    "ReceivedGrant.prefix": _SHARED_FOLDER,
    "S3Header.name": "x-amz-acl",
    "S3Header.value": "public-read",
    "SettingView.description": "the bucket that holds the pictures",
    "SettingView.name": "TOKENVEND_BUCKET",
    "SettingView.value": "photos",
    "SigningKeyView.retires_at": None,
    "UploadField.name": "Content-Type",
    "UploadField.value": "image/jpeg",
    "UploadTicketRequest.path": "albums/2026/beach.jpg",
    "UserActResult.code": None,
    "UserActResult.detail": None,
    "UserImport.next_cursor": "3120",
    "UserImportHashes.kind": "bcrypt",
    "UserImportPreview.problem": "This is not an e-mail address.",
    "UserImportProblem.code": "role_not_taken",
    "UserImportProblem.message": "The row was imported with the role `user`. Administrators give other roles.",
    "get_user_import.cursor": "3120",
    "list_audit_events.cursor": _AUDIT_CURSOR,
    "list_user_audit_events.cursor": _AUDIT_CURSOR,
    "AccessKeyId": _KEY_ID,
    "Expiration": _EXPIRATION,
    "SecretAccessKey": _SECRET_KEY,
    "Token": _SESSION_TOKEN,
    "accepted_at": _NOW,
    "access_key_id": _KEY_ID,
    "access_token": (
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImxObmdpazBCYUpkZXh6d3NubUdORDY0T0M3X0pUc2tzVWVNbk5Obm5yY0kiLCJ0eXAiOiJhdCtqd3QifQ."
        "eyJpc3MiOiJodHRwczovL3Rva2Vucy5leGFtcGxlLm9yZyIsImF1ZCI6Imh0dHBzOi8vdG9rZW5zLmV4YW1wbGUub3JnL3YxIiwic3ViIjoiNG"
        "ZhMGMxZGUtN2QzYi00YTUyLTliMGUtNmEzZjFjMmQ4ZTkwIiwic2lkIjoiYjNhMWYwYzItNWQ2NC00ZTdhLTljMTgtMmYwZDZiN2U4YTkxIiwi"
        "Y2xpZW50X2lkIjoidG9rZW52ZW5kLWFwcCIsImlhdCI6MTc5NTQ1NjgwMCwiZXhwIjoxNzk1NDU3NzAwLCJqdGkiOiI2MGQ0ZTYxNS0wYjYyLT"
        "Q2ZWItYmVmNC1mMzg0YzVmZWM1MGEiLCJhdXRoX3RpbWUiOjE3OTU0NTY4MDB9."
        "7FZVLKvef4xnrD4EY7-fsY3JjJzb22wgxByFyqvEtBKrqMFzmWNCsdpOCCfbjWzqh8iZgkx_q9m9UmrF1a2YLg"
    ),
    "account": "123456789012",
    "actor": str(USER_ID),
    "actor_email": _ADDRESS,
    "actor_name": "Ada",
    "actor_id": str(USER_ID),
    "address": "203.0.113.7",
    "after": _CREATED_AT,
    "alg": "ES256",
    "at": _NOW,
    "attestationObject": (
        "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YViUp-_fxUETcHbsxmX0PLMsWDXTz77a_V3XsnMKgau9s_9dAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAEOEtZa19XFI0xjrZBNqzC1SlAQIDJiABIVgg9d3JM9GFCtK7wnjoagWQkn8fYqKfntzH2DaBAoSw4r8iWCDm0xF2JPCluPrKhb710qWuOkcA"
        "j-uZSpKARGyLIhdWhA"
    ),
    "authenticatorAttachment": "platform",
    "before": _EXPIRATION,
    "bucket": "photos",
    "code": "123 456",
    "content_type": "image/jpeg",
    "counted_at": _NOW,
    "counted_until": _NOW,
    "created_after": _CREATED_AT,
    "created_before": _NOW,
    "contributor_name": _CONTRIBUTOR,
    "contributor_token": _CONTRIBUTOR_TOKEN,
    "created_at": _CREATED_AT,
    "credential_id": "c8a74208-af3a-4424-a76c-21cc846cb4e9",
    "crv": "P-256",
    "current_password": _PASSWORD,
    "cursor": _CURSOR,
    "decoded_message": (
        '{"allowed":false,"explicitDeny":false,"matchedStatements":{"items":[]},"failures":{"items":[]},'
        '"context":{"action":"s3:GetObject"}}'
    ),
    "author_email": "support@example.org",
    "author_id": "0c7a5f2e-93d1-4b68-8e4f-7a1b2c3d4e5f",
    "authorization_code": "c1b2a3948d7e6f5a4b3c2d1e0f9a8b7c6.0.srtqs.wXyZ0123456789-AbCdEfGh",
    "device_name": _DEVICE,
    "displayName": "Ada",
    "display_name": "Ada",
    "effective_by": _LATER,
    "email": _ADDRESS,
    "delivered_at": _NOW,
    "encoded_message": "tUqAvBJYqEXAMPLE",
    "end_reason": "sign_out",
    "ended_at": _LATER,
    "endpoint_url": "https://s3.eu-central-1.amazonaws.com",
    "event": "session.started",
    "event_id": "0f6e2c62-5c58-4d0b-9a53-5f1b7f4a2c11",
    "expiration": _EXPIRATION,
    "expires_at": "2026-12-24T18:00:00Z",
    "exported_at": _NOW,
    "failed_at": None,
    "finished_at": _LATER,
    "generated_at": _NOW,
    "grant_id": GRANT_ID,
    "label": "For grandma",
    "link_id": LINK_ID,
    "grant_ids": [GRANT_ID],
    "grantee_email": _FRIENDS_ADDRESS,
    "grantee_id": str(FRIEND_ID),
    "id": _CREDENTIAL_ID,
    "id_token": (
        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImZoNkJzOEMifQ."
        "eyJpc3MiOiJodHRwczovL2FwcGxlaWQuYXBwbGUuY29tIiwiYXVkIjoib3JnLmV4YW1wbGUucGhvdG9zIiwiZXhwIjoxNzk1NTQzMjAwLCJpYX"
        "QiOjE3OTU0NTY4MDAsInN1YiI6IjAwMTIzNC4wZjRjMmIxZDlhN2U0ZjUzOGM2ZDJlMWIwYTlmN2U2NS4wODE1Iiwibm9uY2UiOiI3MzU1MDM2"
        "MDBiMmQzNWUxM2Y0M2I3NjkxYjYwYWRmYzRmNzc4NDNmNGFkZmUwNWYwODYyM2RmNmYyM2I5NWYzIiwiZW1haWwiOiJhZGFAZXhhbXBsZS5vcm"
        "ciLCJlbWFpbF92ZXJpZmllZCI6dHJ1ZX0."
        "J6MjbcqLMSzrc9iA-z115dOfIYu46uFBcsRJ1l2CmB0SA9k8U-paW1QpACRwJb3IR736xJtRzT9-wsJ0UteYJ7OnxihERTw3bKpTaWSEBot965"
        "kI7O_tgcMMBDkQxyHfCOXXfw76rQXqqhe-jRL0xkYxe6GtauEvnOHHEGA2slto_q7AL8xu0MHaUREixCSh_Y-OUCQbz9XR4tu-pO5sdQvSdalW"
        "LenmpT5aHw6ehYZBvTrPMHSz_QvqNVDKhixTdZij2KKBQ9XOiul8HbHsM_O2vUbmYJ6ZsI3qkSkC5udFxXXXnvxwQHKLP80i2xcsfj0zZDVPRx"
        "EybHdYGi4jUQ"
    ),
    "id_token_signing_alg_values_supported": ["ES256"],
    "identity_id": "4e2a36b3-df0c-47e9-bf55-b4e79c67f2b5",
    "import_id": "2715f666-9c81-4353-a77b-a3d42fcc2648",
    "last_seen_after": _CREATED_AT,
    "last_seen_before": _NOW,
    "issued_at": _NOW,
    "issuer": ISSUER,
    "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
    "key": session_policy.object_key(USER_ID, "albums/2026/beach.jpg"),
    "kid": "lNngik0BaJdexzwsnmGND64OC7_JTsksUeMnNNnnrcI",
    "kind": "mfa_enabled",
    "kty": "EC",
    "last_address": "203.0.113.7",
    "last_seen_at": _NOW,
    "last_used_at": _NOW,
    "left_at": None,
    "locked_until": _LATER,
    "mail_id": "a5f0c6de-31b2-4d0e-9a47-8c2b6f1d3e70",
    "mfa_token": "tvs_EJu-Jxbbswct4BxJ-o7RX10tmDSHeeg3jKCrXJ_Jzrg",
    "name": _DEVICE,
    "new_email": "ada@example.com",
    "new_password": "amber kettle waterfall",
    "next_cursor": _CURSOR,
    "next_try_at": _LATER,
    "note_id": "6f2e9b1c-84d7-4c35-b0a6-1d5e7f3c9a28",
    "nonce": "tvs_kLhKLNq6etddiLY9PSKGQBvEeqcoMWY-0ji14DtTklc",
    "otpauth_uri": f"otpauth://totp/Photos:ada@example.org?secret={_TOTP_SECRET}&issuer=Photos",
    "oldest_at": _NOW,
    "other_email": _FRIENDS_ADDRESS,
    "owner_display_name": "Bob",
    "owner_email": _FRIENDS_ADDRESS,
    "owner_id": str(USER_ID),
    "passed_at": _NOW,
    "passkey_id": "3f8c7caa-8cd1-43ce-bb2c-fa566c18eac4",
    "password": _PASSWORD,
    "path": "albums/2026/",
    "prefix": _PREFIX,
    "provider": "apple",
    "publicKey": (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9d3JM9GFCtK7wnjoagWQkn8fYqKfntzH2DaBAoSw4r_m0xF2JPCluPrKhb710qWuOkcAj-uZSp"
        "KARGyLIhdWhA"
    ),
    "person": _ADDRESS,
    "query": "ada",
    "rawId": _CREDENTIAL_ID,
    "reason": "The phone was stolen.",
    "subject_email": _ADDRESS,
    "subject_name": "Ada",
    "user": str(USER_ID),
    "user_ids": [str(USER_ID)],
    "recipient": _ADDRESS,
    "recovery_codes": [
        "USLT-MMNF-NSA3-XYQH-U3H6-L4AA",
        "GU4P-IXUY-C2D3-WJYO-METL-XNXC",
        "AKPR-XFOS-2HGP-W4AE-HYXY-D4BX",
        "3RTB-H343-IIEJ-5JJA-QTGI-HI6J",
        "H6ZY-Q2YU-SB34-ALLS-CUOC-CLKM",
        "3GP5-NHPP-JZB6-AONA-E3YY-I4PI",
        "E72D-VBNU-NIXC-YJAY-CDZO-Y3UX",
        "TNEX-4V7B-XXPB-LCXC-E5MP-XSDG",
        "L25O-34F2-X3QX-MFBS-LDQT-MAWZ",
        "HIY5-3YZA-OTNC-26UV-QZUR-C2M2",
    ],
    "refresh_token": "tvr_BmxEixjEcVL8L94_l9SKeFPbpuy9nj4pILtmENsjb40",
    "region": "eu-central-1",
    "request_id": REQUEST_ID,
    "requested_at": _NOW,
    "response_types_supported": ["id_token"],
    "opened_at": _NOW,
    "reported_at": None,
    "revoked_at": _LATER,
    "role_arn": "arn:aws:iam::123456789012:role/tokenvend-vending",
    "rpId": RELYING_PARTY,
    "secret": _TOTP_SECRET,
    "secret_access_key": _SECRET_KEY,
    "sent_at": _NOW,
    "server_time": _NOW,
    "session_id": _SESSION_ID,
    "session_token": _SESSION_TOKEN,
    "shared_prefixes": [_SHARED_FOLDER],
    "signature": ("MEUCIQDFr7zjVvUJb7fYmW7BsRRqLbVUNELjuxgWvSNfMhAQcAIgHJACCdRTRS4KR_WvCW57gG02SEGCEg3uJaAfnO0SLfg"),
    "signs_from": _CREATED_AT,
    "start": "2026-11-22T18:00:00Z",
    "started_at": _NOW,
    "started_by": STAFF_ID,
    "subject": str(USER_ID),
    "subject_id": str(USER_ID),
    "subject_types_supported": ["public"],
    "text": _NOTE,
    "token": "tvs_Ln29ZLSB1KoG-dTb3pMf1LS_q7Rl0SpG23QL8Dg1Tj0",
    "transports": ["internal", "hybrid"],
    "updated_at": _LATER,
    "url": "https://photos.s3.eu-central-1.amazonaws.com/",
    "use": "sig",
    "userHandle": _USER_HANDLE,
    "user_id": str(USER_ID),
    "withdrawn_at": _LATER,
    "write_prefixes": [_CONTRIBUTED],
    "written_at": _NOW,
    "x": "dZTPLPcEuuQl3y0PkbllX9T5cX31Q3VW7VS-cXm3Zls",
    "y": "JWRM6nrazTRabYtYMNKsFEvGBxn8z_83JBGxEjLH1NM",
}

BODIES: dict[str, object] = {
    "add_user_note": {"text": _NOTE},
    "add_storage_event": '{"Type": "Notification"}',
    "change_password": {"current_password": _PASSWORD, "new_password": "amber kettle waterfall"},
    "create_user": {"email": "carol@example.org", "display_name": "Carol"},
    "create_downloads": {"path": "albums/2026/"},
    "create_upload_ticket": {"path": "albums/2026/beach.jpg", "content_type": "image/jpeg", "size": 3_000_000},
    "erase_account": {"password": _PASSWORD},
    "import_users": "email,display_name\ncarol@example.org,Carol\n",
    "request_email_change": {"new_email": "ada@example.com", "password": _PASSWORD},
    "step_up_session": {"password": _PASSWORD},
    "update_profile": {"display_name": "Ada"},
    "update_user": {"display_name": "Ada"},
    "upgrade_guest": {"email": "grace@example.org", "password": _PASSWORD},
}
"""Bodies of requests that are more, or other, than the members that have to be there. By operation."""

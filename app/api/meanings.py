"""What members and parameters mean that several have in common, by name: for the OpenAPI document.

The docstring below a member comes first, and so does the `description` of a parameter.
"""

MEANINGS: dict[str, str] = {
    "access": (
        "What the credential may do: `read` reads and lists objects, `write` only writes them, `read_write` does both "
        "and deletes, `read_delete` reads, lists and deletes."
    ),
    "access_key_id": "The access key id of the credential, which is no secret.",
    "at": "When it happened.",
    "attempts": "How often this was tried so far.",
    "authorization_code": (
        "The authorization code of the same sign-in at Apple. With it the service can revoke the user's authorization "
        "there when the account is erased or the identity is unlinked. Left out, or null, for other providers."
    ),
    "bytes": "The size of the stored objects, without versions that were replaced or deleted. In bytes.",
    "challenge": "What the authenticator signs, as WebAuthn defines it. In base64url.",
    "clientDataJSON": "The client data that the browser or phone wrote, as WebAuthn defines it. In base64url.",
    "counted_at": "When the last count began. Null if there was none.",
    "created_at": "When this was created.",
    "credential_id": "The id of the credential in the service's ledger.",
    "cursor": "Where the page begins: the `next_cursor` of an earlier page. Left out for the first page.",
    "device_name": (
        "What the device is called, as its app says at sign-in. Characters that cannot be printed become spaces, and "
        "it is cut after 100 characters. Null if the app does not say."
    ),
    "display_name": "The name by which others know the user. Null if there is none.",
    "email": "The account's e-mail address. Null if it has none, as for guests and erased users.",
    "email_verified": "Whether it was shown that the address belongs to the user.",
    "ended_at": "When the session ended. Null if it has not been ended.",
    "event": "What happened, such as `session.started`. Later versions may add names.",
    "event_id": "The id of the event, and of the message at each delivery (`webhook-id`).",
    "expiration": "When the credential expires.",
    "expires_at": "When the grant ends by itself. Null if it lasts until it is withdrawn.",
    "grant_id": "The id of the grant.",
    "grantee_email": "The e-mail address of the person with whom the folder is shared, as the owner wrote it.",
    "has_password": "Whether people have to know a password besides the link.",
    "guest": (
        "Whether this is a guest account, which belongs to one device. An account with a passkey or an outside "
        "identity is none, even without an address."
    ),
    "id_token": "The ID token (a JWT) that the provider gave to the app. It carries a nonce of this service.",
    "identity_id": "The id of the outside identity in this service.",
    "import_id": "The id of the import.",
    "issued_at": "When STS issued the credential.",
    "items": "The entries of this page.",
    "kid": "The id of the key, which the header of each token that it signed names.",
    "kind": "Which mail it is, such as `reset_password`.",
    "last_address": (
        "The IP address from which the device last signed in, refreshed or stepped up. Null if an earlier version of "
        "the service saw it last."
    ),
    "last_used_at": "When the device last signed in, refreshed or stepped up.",
    "label": "What the owner calls the link, so as to tell it from others. Null if it has no name.",
    "limit": "How many entries a page has at most.",
    "link_id": "The id of the link. Of a credential: null if it was not vended by a link.",
    "mail_id": "The id of the mail.",
    "method": (
        "How the user signed in: by `password`, by `passkey`, with a provider (`oidc`), or as a new guest (`guest`)."
    ),
    "mfa_enabled": "Whether the user has an authenticator app as a second factor.",
    "mfa_token": "The token of a sign-in that waits for its second factor.",
    "new_email": "The account's new e-mail address.",
    "new_password": "The account's new password. A weak one is refused with 422 `weak_password`.",
    "next_cursor": "Send it as `cursor` to get the next page. Null on the last page.",
    "note_id": "The id of the note.",
    "objects": "How many objects are stored, without versions that were replaced or deleted.",
    "old_bytes": (
        "The size of versions that were replaced or deleted and are still stored. In bytes. Null if the service does "
        "not count them."
    ),
    "opened_at": "When the link was last opened, to within a minute. Null if it never was.",
    "outcome": "Whether it was `done`, or `refused`.",
    "passkey_id": "The id of the passkey in this service.",
    "path": "The shared folder within the owner's prefix. It ends in `/`.",
    "prefix": "Where in the bucket the credential works. It ends in `/`.",
    "provider": "The name of the provider as the operator set it up, such as `apple`.",
    "purpose": "What the key signs: access tokens (`access`), the identity tokens that only STS gets (`sts`), or the "
    "assertions that only STS gets (`saml`).",
    "reason": "Why you do this, in your own words. The audit event keeps it.",
    "recipient": "The e-mail address that the mail goes to.",
    "revoked_at": "When the credential was revoked. Null if it was not.",
    "role": (
        "What the account may do beside its own things: nothing (`user`), look after users (`support`), or run the "
        "service (`admin`)."
    ),
    "server_time": "What the service's clock says now, so that a device knows by how much its own clock is wrong.",
    "session_id": (
        "The id of the session, which is one signed-in device of the user. Of a credential that was vended by a link, "
        "the id of the link."
    ),
    "shared_prefixes": "The folders of others that the credential also reads, as prefixes of keys in the bucket.",
    "status": "Whether the account is `active`, was `disabled` by staff, or is `erased`.",
    "text": "The text of the note.",
    "timeout": "How long the browser or phone waits for the user, as WebAuthn defines it. In milliseconds.",
    "token": "The token of the link in the mail.",
    "type": "Always `public-key`, as WebAuthn defines it.",
    "userVerification": "Always `required`, as WebAuthn defines it: the authenticator verifies its user.",
    "user_id": "The id of the user.",
    "write_prefixes": (
        "Where the credential also writes and deletes: the user's own part of each folder that others let the user "
        "fill. Each is `by/` and the user's id, within one of `shared_prefixes`."
    ),
    "withdrawn_at": "When the owner withdrew the grant, or one of both accounts was erased. Null if neither happened.",
}

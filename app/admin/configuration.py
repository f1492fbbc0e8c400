"""The settings as they are now, for administrators.

A value is shown only where it can be no secret: a number, a switch, a choice, or a text that is listed in `PLAIN`. Of
everything else, and so of every setting that is added later, only whether it is set is shown.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from app.platform.settings import PREFIX, Settings

PLAIN = frozenset(
    {
        *("public_url", "bucket", "role_arn", "region", "kms_key_arn", "policy_arns", "revocation_policy_arns"),
        *("session_tags", "transitive_tag_keys", "sts_regions", "s3_exposed_headers", "storage_events_topic_arn"),
        *("mail_from", "app_link_base", "passkey_rp_id", "passkey_origins", "cognito_client_id", "cognito_region"),
        *("cdn_url", "cdn_key_pair_id"),
        *("trusted_proxies", "allowed_hosts", "cors_origins", "s3_public_endpoint_url", "mfa_serial"),
    }
)
"""Settings of text that every user, or everybody who reads a policy of the bucket, may know."""


@dataclass(frozen=True)
class ShownSetting:
    name: str
    value: str | None
    """None where it is not shown, and where it is empty."""
    is_shown: bool
    is_set: bool
    is_default: bool
    description: str


def list_settings(settings: Settings) -> list[ShownSetting]:
    return [_shown(settings, name) for name in type(settings).model_fields]


def _shown(settings: Settings, name: str) -> ShownSetting:
    field, value = type(settings).model_fields[name], getattr(settings, name)
    alias = field.validation_alias
    is_shown = name in PLAIN or _is_closed(field.annotation)
    text = _text(value) if is_shown else ""
    return ShownSetting(
        name=str(alias.choices[0]) if alias is not None and hasattr(alias, "choices") else f"{PREFIX}{name}".upper(),
        value=text or None,
        is_shown=is_shown,
        is_set=bool(_text(value)),
        is_default=name not in settings.model_fields_set,
        description=field.description or "",
    )


def _is_closed(annotation: Any) -> bool:
    """Whether no value of the type is a text that somebody chose."""
    if get_origin(annotation) is Literal:
        return True
    if parts := get_args(annotation):
        return get_origin(annotation) not in (tuple, list, dict) and all(map(_is_closed, parts))
    return annotation in (bool, int, float, type(None))


def _text(value: Any) -> str:
    """Empty for a value that says nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if hasattr(value, "get_secret_value"):
        return str(value.get_secret_value())
    return "" if value is None or value == {} else str(value)

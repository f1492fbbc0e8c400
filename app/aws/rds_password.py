"""IAM passwords for RDS. They are signed on this machine. Each opens one database for one user for 15 minutes."""

from collections.abc import Callable
from urllib.parse import urlencode

from botocore.model import ServiceId
from botocore.session import Session
from botocore.signers import RequestSigner
from sqlalchemy.engine import make_url

from app.aws.base_credentials import FAULTS, default_session
from app.platform.problems import DatabaseUnavailable
from app.platform.settings import Settings

LIFETIME = 900
"""Seconds in which a connection may begin with it; RDS allows no more. An open connection does not end."""
PORT = 5432
SERVICE = ServiceId("rds")
"""Used only in the names of the SDK's events."""


def database_password(settings: Settings, aws: Session | None = None) -> Callable[[], str] | None:
    """A function that makes the password of each connection; None without `DATABASE_IAM_AUTH`.

    The function may wait for a network. It raises `DatabaseUnavailable` without base credentials. boto3's RDS client
    makes the same text, but loads the whole model of RDS.
    """
    if not settings.database_iam_auth:
        return None
    session = aws or default_session(settings.region)
    emitter = session.get_component("event_emitter")
    url = make_url(settings.database_url)
    query = urlencode({"Action": "connect", "DBUser": url.username})
    address = f"https://{url.host}:{url.port or PORT}/?{query}"

    def make() -> str:
        request = {"method": "GET", "url": address, "headers": {}, "body": {}, "context": {}}
        try:
            signer = RequestSigner(SERVICE, settings.region, "rds-db", "v4", session.get_credentials(), emitter)
            signed = signer.generate_presigned_url(request, operation_name="connect", expires_in=LIFETIME)
        except FAULTS as error:
            raise DatabaseUnavailable(cause=f"no password by IAM: {type(error).__name__}") from error
        return str(signed).removeprefix("https://")

    return make

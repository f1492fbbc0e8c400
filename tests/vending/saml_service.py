"""The service in `saml` mode, over an STS that believes what it verifies and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.vending.saml_metadata import METADATA_PATH
from tests.support.saml_sts import SamlSts
from tests.support.service import Service, running_service


@contextmanager
def running_saml(database_url: str, *, uploaded: bool = True, **changes: Any) -> Iterator[Service]:
    """`uploaded`: whether IAM has the metadata."""
    with running_service(database_url, vending_mode="saml", make_sts=SamlSts, **changes) as service:
        if uploaded:
            upload(service)
        yield service


def sts_of(service: Service) -> SamlSts:
    assert isinstance(service.sts, SamlSts)
    return service.sts


def metadata(service: Service) -> bytes:
    answer = service.client.get(METADATA_PATH)
    assert answer.status_code == 200, answer.text
    return answer.content


def upload(service: Service) -> None:
    sts_of(service).upload(metadata(service))

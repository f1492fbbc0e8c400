"""`tokenvend serve` with MinIO as its S3 and STS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.journeys.deployment import REGION, Deployment, Keys
from tests.journeys.served import started
from tests.support.minio import ROLE_ARN, MinioNode


@contextmanager
def served_on_minio(
    directory: Path, node: MinioNode, database_url: str, settings: Mapping[str, str] | None = None
) -> Iterator[Deployment]:
    with started(directory, settings_on_minio(node, database_url) | dict(settings or {})) as served:
        owner = Keys(node.owner.access_key_id, node.owner.secret_access_key)
        yield Deployment(served.url, node.endpoint_url, node.bucket, owner)


def settings_on_minio(node: MinioNode, database_url: str) -> dict[str, str]:
    return {
        "TOKENVEND_DATABASE_URL": database_url,
        "TOKENVEND_RATE_LIMITS": "off",
        "TOKENVEND_BUCKET": node.bucket,
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "TOKENVEND_STS_ENDPOINT_URL": node.endpoint_url,
        "TOKENVEND_S3_ENDPOINT_URL": node.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": node.broker.access_key_id,
        "AWS_SECRET_ACCESS_KEY": node.broker.secret_access_key,
    }

from urllib.parse import urlsplit

from lines import BUCKET, ENDPOINT, REGION, serve
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials.providers import ChainedProvider, EnvAWSProvider, IamAwsProvider


class Store:
    def __init__(self) -> None:
        at = urlsplit(ENDPOINT)
        chain = ChainedProvider([EnvAWSProvider(), IamAwsProvider()])
        self.s3 = Minio(at.netloc, region=REGION, secure=at.scheme == "https", credentials=chain)

    def up(self, file: str, key: str) -> None:
        self.s3.fput_object(BUCKET, key, file)

    def names(self, prefix: str) -> list[str | None]:
        return [entry.object_name for entry in self.s3.list_objects(BUCKET, prefix, recursive=True)]

    def down(self, key: str, file: str) -> None:
        self.s3.fget_object(BUCKET, key, file)

    def move(self, key: str, to: str) -> None:
        self.s3.copy_object(BUCKET, to, CopySource(BUCKET, key))
        self.remove(key)

    def remove(self, key: str) -> None:
        self.s3.remove_object(BUCKET, key)


serve("minio", Store)

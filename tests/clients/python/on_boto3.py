from typing import Any

import boto3
from lines import BUCKET, serve


class Store:
    def __init__(self) -> None:
        self.s3: Any = boto3.client("s3")

    def up(self, file: str, key: str) -> None:
        self.s3.upload_file(file, BUCKET, key)

    def names(self, prefix: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def down(self, key: str, file: str) -> None:
        self.s3.download_file(BUCKET, key, file)

    def move(self, key: str, to: str) -> None:
        self.s3.copy({"Bucket": BUCKET, "Key": key}, BUCKET, to)
        self.remove(key)

    def remove(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)


serve("boto3", Store)

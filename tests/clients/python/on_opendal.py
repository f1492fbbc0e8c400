from pathlib import Path

import opendal
from lines import BUCKET, ENDPOINT, REGION, serve


class Store:
    def __init__(self) -> None:
        self.s3 = opendal.Operator("s3", bucket=BUCKET, endpoint=ENDPOINT, region=REGION)

    def up(self, file: str, key: str) -> None:
        self.s3.write(key, Path(file).read_bytes())

    def names(self, prefix: str) -> list[str]:
        return [entry.path for entry in self.s3.list(prefix, recursive=True)]

    def down(self, key: str, file: str) -> None:
        Path(file).write_bytes(self.s3.read(key))

    def move(self, key: str, to: str) -> None:
        self.s3.rename(key, to)

    def remove(self, key: str) -> None:
        self.s3.delete(key)


serve("opendal", Store)

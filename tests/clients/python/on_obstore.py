from pathlib import Path

import obstore
from lines import BUCKET, ENDPOINT, REGION, serve
from obstore.store import S3Store


class Store:
    def __init__(self) -> None:
        plain = {"allow_http": ENDPOINT.startswith("http:")}
        self.s3 = S3Store(BUCKET, endpoint=ENDPOINT, region=REGION, client_options=plain)

    def up(self, file: str, key: str) -> None:
        obstore.put(self.s3, key, Path(file))

    def names(self, prefix: str) -> list[str]:
        return [entry["path"] for chunk in obstore.list(self.s3, prefix) for entry in chunk]

    def down(self, key: str, file: str) -> None:
        Path(file).write_bytes(obstore.get(self.s3, key).bytes())

    def move(self, key: str, to: str) -> None:
        obstore.rename(self.s3, key, to)

    def remove(self, key: str) -> None:
        obstore.delete(self.s3, key)


serve("obstore", Store)

from lines import BUCKET, ENDPOINT, serve
from s3fs import S3FileSystem


class Store:
    def __init__(self) -> None:
        self.s3 = S3FileSystem(endpoint_url=ENDPOINT, use_listings_cache=False)

    def up(self, file: str, key: str) -> None:
        self.s3.put_file(file, f"{BUCKET}/{key}")

    def names(self, prefix: str) -> list[str]:
        return list(self.s3.find(f"{BUCKET}/{prefix}"))

    def down(self, key: str, file: str) -> None:
        self.s3.get_file(f"{BUCKET}/{key}", file)

    def move(self, key: str, to: str) -> None:
        self.s3.mv(f"{BUCKET}/{key}", f"{BUCKET}/{to}")

    def remove(self, key: str) -> None:
        self.s3.rm(f"{BUCKET}/{key}")


serve("s3fs", Store)

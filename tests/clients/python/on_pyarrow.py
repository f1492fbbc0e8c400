from pathlib import Path
from urllib.parse import urlsplit

from lines import BUCKET, ENDPOINT, REGION, serve
from pyarrow.fs import FileSelector, S3FileSystem


class Store:
    def __init__(self) -> None:
        at = urlsplit(ENDPOINT)
        self.s3 = S3FileSystem(region=REGION, scheme=at.scheme, endpoint_override=at.netloc)

    def up(self, file: str, key: str) -> None:
        with self.s3.open_output_stream(f"{BUCKET}/{key}") as stream:
            stream.write(Path(file).read_bytes())

    def names(self, prefix: str) -> list[str]:
        return [entry.path for entry in self.s3.get_file_info(FileSelector(f"{BUCKET}/{prefix}", recursive=True))]

    def down(self, key: str, file: str) -> None:
        with self.s3.open_input_stream(f"{BUCKET}/{key}") as stream:
            Path(file).write_bytes(stream.read())

    def move(self, key: str, to: str) -> None:
        self.s3.move(f"{BUCKET}/{key}", f"{BUCKET}/{to}")

    def remove(self, key: str) -> None:
        self.s3.delete_file(f"{BUCKET}/{key}")


serve("pyarrow", Store)

"""A file goes as the one cell of a table in Parquet."""

from pathlib import Path
from typing import Any

import polars
from lines import BUCKET, ENDPOINT, REGION, serve

PLACE: dict[str, Any] = {
    "storage_options": {
        "aws_endpoint_url": ENDPOINT,
        "aws_region": REGION,
        "aws_allow_http": str(ENDPOINT.startswith("http:")).lower(),
    },
    "credential_provider": polars.CredentialProviderAWS(region_name=REGION),
}


class Store:
    def up(self, file: str, key: str) -> None:
        table = polars.DataFrame({"content": [Path(file).read_bytes()]})
        table.write_parquet(f"s3://{BUCKET}/{key}", **PLACE)

    def names(self, prefix: str) -> list[str]:
        files = polars.scan_parquet(f"s3://{BUCKET}/{prefix}**/*", **PLACE, include_file_paths="file")
        return files.select("file").unique().collect()["file"].to_list()

    def down(self, key: str, file: str) -> None:
        table = polars.read_parquet(f"s3://{BUCKET}/{key}", **PLACE)
        Path(file).write_bytes(table["content"][0])


serve("polars", Store)

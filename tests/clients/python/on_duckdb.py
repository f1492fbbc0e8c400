from urllib.parse import urlsplit

import duckdb
from duckdb_extensions import import_extension
from lines import BUCKET, ENDPOINT, REGION, serve


class Store:
    def __init__(self) -> None:
        for extension in ("httpfs", "aws"):
            import_extension(extension)
        at = urlsplit(ENDPOINT)
        self.db = duckdb.connect()
        self.db.load_extension("httpfs")
        self.db.load_extension("aws")
        self.db.execute(
            "CREATE SECRET (TYPE s3, PROVIDER credential_chain, REFRESH auto, URL_STYLE 'path', "
            f"REGION '{REGION}', ENDPOINT '{at.netloc}', USE_SSL {at.scheme == 'https'})"
        )

    def up(self, file: str, key: str) -> None:
        self._copy(file, f"s3://{BUCKET}/{key}")

    def names(self, prefix: str) -> list[str]:
        return [name for (name,) in self.db.execute("FROM glob(?)", [f"s3://{BUCKET}/{prefix}**"]).fetchall()]

    def down(self, key: str, file: str) -> None:
        self._copy(f"s3://{BUCKET}/{key}", file)

    def _copy(self, source: str, to: str) -> None:
        self.db.execute(f"COPY (SELECT content FROM read_blob('{source}')) TO '{to}' (FORMAT blob)")


serve("duckdb", Store)

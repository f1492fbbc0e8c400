"""The beginning of a file: what is packed, and what comes from another system than the named one."""

import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.admin import formats
from app.admin.formats import NDJSON, SOURCES, SourceName, opening
from app.platform.problems import ContentTooLarge, InvalidRequest, UnreadableImport
from tests.admin.test_formats import SAMPLES, emails

TITLES = {
    "tokenvend.csv": "tokenvend",
    "better-auth.csv": "tokenvend",
    "directory.ldif": "ldif",
    "parse.ndjson": "parse",
    "supabase.sql": "supabase",
    **{name: Path(name).stem for name in ("cognito.csv", "cognito.json", "firebase.json", "firebase.csv")},
    **{name: Path(name).stem for name in ("supabase.csv", "auth0.ndjson", "auth0.csv", "clerk.csv")},
    **{name: Path(name).stem for name in ("django.json", "keycloak.json", "appwrite.json", "kratos.json")},
}
"""The source of each sample."""


def read(source: SourceName, media_type: str | None, *chunks: bytes, most: int = 10**6) -> list[str]:
    found = formats.records_of(source, media_type, chunks, most)
    return emails([formats.user_of(SOURCES[source], record) for record in found])


class TestPacked:
    ROWS = b"".join(b'{"email": "a%d@example.org"}\n' % number for number in range(2_000))

    @pytest.mark.parametrize("size", [1, 1_000, 10**6])
    def test_a_packed_file_is_the_file(self, size: int) -> None:
        packed = gzip.compress(self.ROWS[:30_000]) + gzip.compress(self.ROWS[30_000:]) + bytes(512)
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert read("tokenvend", NDJSON, *pieces) == read("tokenvend", NDJSON, self.ROWS)

    def test_a_bomb_is_stopped_before_it_is_held(self) -> None:
        packer = zlib.compressobj(9, wbits=31)
        bomb = b"".join(packer.compress(bytes(10**6)) for _ in range(200)) + packer.flush()
        assert len(bomb) < 10**6
        tracemalloc.start()
        try:
            with pytest.raises(ContentTooLarge, match="over 50,000,000 bytes"):
                read("tokenvend", NDJSON, bomb, most=50_000_000)
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
        finally:
            tracemalloc.stop()

    def test_as_many_bytes_as_are_allowed_are_read(self) -> None:
        assert len(read("tokenvend", NDJSON, gzip.compress(self.ROWS), most=len(self.ROWS))) == 2_000
        with pytest.raises(ContentTooLarge):
            read("tokenvend", NDJSON, gzip.compress(self.ROWS), most=len(self.ROWS) - 1)

    @pytest.mark.parametrize("cut", [3, 12, -9, -1])
    def test_one_that_ends_too_early_says_so(self, cut: int) -> None:
        with pytest.raises(UnreadableImport, match="gzip"):
            read("tokenvend", NDJSON, gzip.compress(self.ROWS)[:cut])

    def test_one_that_is_damaged_says_so(self) -> None:
        packed = bytearray(gzip.compress(self.ROWS))
        packed[40] ^= 0xFF
        with pytest.raises(UnreadableImport, match="gzip"):
            read("tokenvend", NDJSON, bytes(packed))
        with pytest.raises(UnreadableImport, match="gzip"):
            read("tokenvend", NDJSON, gzip.compress(self.ROWS) + b"more")

    def test_a_stream_is_not_read_ahead(self) -> None:
        taken = 0

        def chunks() -> Iterator[bytes]:
            nonlocal taken
            for chunk in itertools.repeat(self.ROWS[:3_000], 1_000):
                taken += 1
                yield chunk

        found = formats.records_of("tokenvend", NDJSON, chunks(), 10**6)
        next(found)
        assert taken <= 1 + opening.BEGINNING // 3_000 + 1


class TestRecognition:
    def test_is_asked_of_every_sample(self) -> None:
        samples = {path.name for path in SAMPLES.iterdir() if path.suffix in opening.SUFFIXES}
        assert samples == set(TITLES)

    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("name", TITLES)
    def test_a_sample_is_known_for_what_it_is(self, name: str, source: SourceName) -> None:
        data = (SAMPLES / name).read_bytes()
        of = None if source == TITLES[name] else TITLES[name]
        assert formats.other_source(source, data) == of
        assert formats.other_source(source, formats.beginning_of([gzip.compress(data)])) == of

    @pytest.mark.parametrize("name", TITLES)
    def test_a_file_without_a_kind_is_of_the_kind_that_it_looks_like(self, name: str) -> None:
        source: SourceName = TITLES[name]  # type: ignore[assignment]  # they are the names
        data = (SAMPLES / name).read_bytes()
        named = read(source, opening.media_type_of(name), data)
        assert read(source, None, gzip.compress(data)) == named
        assert named[0] == "ada@example.org"

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"\n",
            b"email\n",
            b"email,role\n",
            b'{"email": "ada@example.org"}\n',
            b'{"email": "ada@example.org", "display_name": "\\"traits\\": \\"schema_id\\": "}\n',
            b'email,display_name\nada@example.org,"encrypted_password,localId"\n',
            b"\xff\xfe",
            b"id,email,encrypted_password,created_at\n",  # Devise's
        ],
    )
    def test_what_could_be_anything_is_nothing_else(self, text: bytes) -> None:
        assert formats.other_source("tokenvend", text) is None

    def test_the_right_source_is_named(self) -> None:
        with pytest.raises(InvalidRequest) as raised:
            read("cognito", "application/json", (SAMPLES / "firebase.json").read_bytes())
        (error,) = raised.value.errors
        assert error.code == "looks_like_firebase"
        assert error.message.startswith("This looks like an export of Firebase Auth: use --source firebase")

    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("tenant.json", "application/json"),
            ("tenant.JSON.gz", "application/json"),
            ("users.jsonl", NDJSON),
            ("tenant.gz", None),
            ("users", None),
            ("users.xlsx", None),
        ],
    )
    def test_names_say_what_systems_mean_by_them(self, name: str, media_type: str | None) -> None:
        assert opening.media_type_of(name) == media_type


class TestAuth0:
    LINES = (SAMPLES / "auth0.ndjson").read_bytes()

    @pytest.mark.parametrize("media_type", [NDJSON, "application/json", None])
    def test_its_job_names_lines_json(self, media_type: str | None) -> None:
        assert read("auth0", media_type, gzip.compress(self.LINES)) == read("auth0", NDJSON, self.LINES)

    def test_an_array_is_read_too(self) -> None:
        array = b"\xef\xbb\xbf [" + b",\n".join(self.LINES.splitlines()) + b"]"
        for pieces in ([array], [array[at : at + 7] for at in range(0, len(array), 7)]):
            assert read("auth0", "application/json", *pieces) == read("auth0", NDJSON, self.LINES)

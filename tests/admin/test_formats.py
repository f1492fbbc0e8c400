"""Files of users of other systems: what each row says, and what hostile ones cost."""

import base64
import csv
import hashlib
import itertools
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin import exports, formats
from app.admin.formats import CSV, JSON, LDIF, NDJSON, SOURCES, SQL, SourceName, records
from app.admin.formats.native import COLUMNS
from app.admin.formats.opening import SUFFIXES
from app.admin.formats.records import MALFORMED
from app.admin.formats.rows import ImportedUser, RowProblem
from app.admin.formats.spreadsheet import armed, csv_line, disarmed
from app.crypto.password_hashes import PASSWORD_CONTEXT, FirebaseScrypt, firebase_hash
from app.platform.problems import UnreadableImport
from tests.tiers import up_to

SAMPLES = Path(__file__).parent.parent.parent / "deploy" / "imports"
BCRYPT = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
Row = ImportedUser | RowProblem


def rows(source: SourceName, media_type: str, *chunks: bytes) -> list[Row]:
    found = SOURCES[source]
    return [formats.user_of(found, record) for record in found.readers[media_type](chunks)]


def code_of(row: Row) -> str:
    assert isinstance(row, RowProblem), row
    return row.code


def emails(found: list[Row]) -> list[str]:
    return [row.address.text if isinstance(row, ImportedUser) else row.code for row in found]


def native(**members: Any) -> Row:
    (row,) = rows("tokenvend", NDJSON, json.dumps({"email": "ada@example.org", **members}).encode())
    return row


def cost(source: SourceName, media_type: str, data: bytes, piece: int) -> int:
    """Characters that methods of text and of bytes are called on while the file is read: work without a clock."""
    looked_at = 0

    def watch(_frame: FrameType, event: str, called: Any) -> None:
        nonlocal looked_at
        if event == "c_call" and isinstance(text := getattr(called, "__self__", None), str | bytes | bytearray):
            looked_at += len(text)

    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        for _ in SOURCES[source].readers[media_type](pieces):
            pass
    finally:
        sys.setprofile(before)
    return looked_at


class TestCost:
    """IM9"""

    @pytest.mark.parametrize(
        ("source", "media_type", "piece", "file"),
        [
            ("tokenvend", CSV, 65_536, lambda n: b'email\n"' + b"\n" * n + b'"\n'),
            ("tokenvend", CSV, 65_536, lambda n: b"email\n" + b"a@example.org\n" * (n // 14)),
            ("tokenvend", CSV, 3, lambda n: b"email\n" + b"x" * n + b"\n"),
            ("tokenvend", NDJSON, 3, lambda n: b'{"email": "' + b"x" * n + b'"}\n'),
            ("firebase", JSON, 3, lambda n: b'{"users": [{"email": "' + b"x" * n + b'"}]}'),
            ("supabase", SQL, 65_536, lambda n: b"COPY auth.users (email) FROM stdin;\n" + b"\t" * n + b"\n\\.\n"),
            (
                *("supabase", SQL, 65_536),
                lambda n: b"INSERT INTO auth.users (email) VALUES ('" + b"\n" * n + b"');\n",
            ),
            (
                *("supabase", SQL, 65_536),
                lambda n: b"INSERT INTO auth.users (email) VALUES " + b"('a')," * (n // 6) + b"('b');\n",
            ),
            (
                "supabase",
                SQL,
                3,
                lambda n: b"INSERT INTO auth.users (email) VALUES ('" + b"x" * (7 * n // 2) + b"');\n",
            ),
            ("keycloak", JSON, 3, lambda n: b'{"a": [' + b"{}," * n + b'""], "users": [{"email": "a@example.org"}]}'),
            ("ldif", LDIF, 3, lambda n: b"dn: uid=a\nmail: a@example.org\ncn: a" + b"\n b" * n + b"\n"),
            ("ldif", LDIF, 65_536, lambda n: b"dn: uid=a\njpegPhoto:: " + b"A" * 3 * n + b"\nmail: a@example.org\n"),
            ("supabase", SQL, 65_536, lambda n: b"INSERT INTO posts VALUES ('" + b"\n" * n + b"');\n"),
        ],
        ids=[
            *("long field", "rows", "pieces", "json in pieces", "array", "copy", "long value", "tuples", "long tuple"),
            *("other members", "folds", "photo", "other table"),
        ],
    )
    def test_twice_the_file_costs_twice_as_much(
        self, source: SourceName, media_type: str, piece: int, file: Callable[[int], bytes]
    ) -> None:
        dump = b"" if media_type != SQL else b"\nCOPY auth.users (email) FROM stdin;\n\\.\n"
        once, twice = (cost(source, media_type, file(n) + dump, piece) for n in (10_000, 20_000))
        assert twice <= 2.2 * once  # both are 0 where no method of text is called, as for an array
        assert twice < 20 * 20_000


class TestSamples:
    @pytest.mark.parametrize(
        ("source", "name", "expected"),
        [
            ("tokenvend", "tokenvend.csv", ["ada@example.org", "grace@example.org"]),
            ("cognito", "cognito.csv", ["ada@example.org", "grace@example.org", "alan@example.org"]),
            ("firebase", "firebase.json", ["ada@example.org", "grace@example.org"]),
            ("supabase", "supabase.csv", ["ada@example.org", "grace@example.org", "deleted"]),
            ("supabase", "supabase.sql", ["ada@example.org", "grace@example.org", "deleted"]),
            ("auth0", "auth0.ndjson", ["ada@example.org", "grace@example.org", "alan@example.org"]),
            ("auth0", "auth0.csv", ["ada@example.org", "grace@example.org"]),
            ("cognito", "cognito.json", ["ada@example.org", "grace@example.org", "alan@example.org"]),
            ("firebase", "firebase.csv", ["ada@example.org", "grace@example.org"]),
            ("clerk", "clerk.csv", ["ada@example.org", "grace@example.org", "alan@example.org"]),
            ("django", "django.json", ["ada@example.org", "grace@example.org", "missing_email"]),
            ("keycloak", "keycloak.json", ["ada@example.org", "grace@example.org", "missing_email"]),
            ("parse", "parse.ndjson", ["ada@example.org", "grace@example.org", "missing_email"]),
            ("appwrite", "appwrite.json", ["ada@example.org", "grace@example.org", "missing_email"]),
            ("kratos", "kratos.json", ["ada@example.org", "grace@example.org", "alan@example.org"]),
            ("ldif", "directory.ldif", ["ada@example.org", "grace@example.org", "missing_email"]),
        ],
    )
    def test_are_read_however_they_come(self, source: SourceName, name: str, expected: list[str]) -> None:
        data = (SAMPLES / name).read_bytes()
        media_type = SUFFIXES[Path(name).suffix]
        whole = rows(source, media_type, data)
        assert emails(whole) == expected
        for size in (1, 7, 100):
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            assert rows(source, media_type, *pieces) == whole
        ada = whole[0]
        assert isinstance(ada, ImportedUser)
        assert (ada.email_verified, ada.created_at is not None) == (
            source not in ("django", "ldif"),  # neither says which addresses are verified
            source != "clerk",
        )
        assert (ada.disabled, ada.role) == (False, "user")
        assert ada.display_name in ("Ada Lovelace", "Lovelace, Ada")
        assert (ada.password_hash is None) == (source == "cognito" or name == "auth0.csv")
        assert ada.awaits_password == (source == "cognito")

    def test_a_supabase_dump_says_what_its_csv_says(self) -> None:
        found = [rows("supabase", SQL, (SAMPLES / "supabase.sql").read_bytes())]
        found.append(rows("supabase", CSV, (SAMPLES / "supabase.csv").read_bytes()))
        assert found[0] == found[1]

    def test_cognitos_federated_users_await_no_password(self) -> None:
        found = rows("cognito", CSV, (SAMPLES / "cognito.csv").read_bytes())
        assert [isinstance(row, ImportedUser) and (row.awaits_password, row.disabled) for row in found] == [
            (True, False),
            (False, False),
            (True, True),
        ]


class TestCsv:
    @pytest.mark.parametrize(
        ("data", "said"),
        [(b"", "is empty"), (b"\xff\xfee\0m\0a\0i\0l\0\n\0", "CSV UTF-8"), (b"\xffemail\n", "CSV UTF-8")],
    )
    def test_a_file_without_a_header_says_what_is_wrong(self, data: bytes, said: str) -> None:
        with pytest.raises(UnreadableImport, match=said):
            rows("tokenvend", CSV, data)

    @given(st.text(alphabet=" ,;'\r\n\t\0\u2028é", max_size=8))
    def test_a_row_without_quotation_marks_is_read_as_the_module_does(self, text: str) -> None:
        row = f"a{text}".partition("\n")[0] + "\n"
        try:
            (wanted,) = csv.reader([row], strict=True)
        except csv.Error:
            wanted = []
        (read,) = records.csv_of()([b",".join(b"c%d" % number for number in range(9)) + b"\n", row.encode()])
        if not wanted:
            assert read == MALFORMED
        elif len(wanted) == 9:
            assert isinstance(read, dict)
            assert list(read.values()) == wanted
        else:
            assert isinstance(read, RowProblem)
            assert read.code == "misfit_row"

    def test_quotes_commas_and_lines_within_a_field(self) -> None:
        text = '\ufeffEmail,display_name\r\n"ada@example.org","Lovelace, ""Ada"""\r\n\r\ngrace@example.org,"a\nb"\n'
        ada, grace = rows("tokenvend", CSV, text.encode())
        assert isinstance(ada, ImportedUser)
        assert ada.display_name == 'Lovelace, "Ada"'
        assert isinstance(grace, ImportedUser)
        assert grace.display_name == "a b"

    @pytest.mark.parametrize(
        ("row", "code"),
        [
            (b"a@example.org", "misfit_row"),
            (b"a@example.org,b,c", "misfit_row"),
            (b"a@example.org,\xe9t\xe9", "not_utf8"),
            (b'a@example.org,"x"y', "malformed_row"),
            (b"a@example.org," + b"x" * 70_000, "row_too_long"),
            (b"a\0@example.org,b", "invalid_email"),
            (b",b", "missing_email"),
        ],
    )
    def test_a_wrong_row_costs_itself_alone(self, row: bytes, code: str) -> None:
        found = rows("tokenvend", CSV, b"email,display_name\n", row, b"\nada@example.org,Ada\n")
        assert emails(found) == [code, "ada@example.org"]

    def test_a_quote_that_is_never_closed_ends_somewhere(self) -> None:
        text = b'email,display_name\na@example.org,"x\n' + b"b@example.org,y\n" * 10_000
        found = emails(rows("tokenvend", CSV, text))
        assert found[0] == "row_too_long"
        assert len(found) > 5_000
        assert found[-1] == "b@example.org"

    @pytest.mark.parametrize("last", [b'a@example.org,"x', b'a@example.org,x"y'])
    def test_a_quote_that_is_open_at_the_end_costs_the_last_row_alone(self, last: bytes) -> None:
        found = rows("tokenvend", CSV, b"email,display_name\nada@example.org,Ada\n", last)
        assert emails(found) == ["ada@example.org", "malformed_row"]

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"\n",
            b"name,display_name\n",
            b"email;display_name\n",
            b"email,email\n",
            b"email,Email \n",
            b"email,pasword_hash\n",
            "email,display_name\n".encode("utf-16"),
            b"x" * 100_000,
            b'"email\n' * 20_000,
        ],
    )
    def test_a_wrong_header_is_a_wrong_file(self, text: bytes) -> None:
        with pytest.raises(UnreadableImport) as raised:
            rows("tokenvend", CSV, text)
        assert "pasword" not in raised.value.detail

    @given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=5), st.integers(1, 9))
    @up_to(200)
    def test_nothing_in_a_field_raises(self, found: list[tuple[str, str]], size: int) -> None:
        text = "email,display_name\n" + "".join(f"{email},{name}\n" for email, name in found)
        data = text.encode("utf-8", "surrogatepass")
        try:
            whole = rows("tokenvend", CSV, data)
        except UnreadableImport:
            return
        assert rows("tokenvend", CSV, *(data[at : at + size] for at in range(0, len(data), size))) == whole


class TestNative:
    """IM1, IM3, IM4"""

    def test_an_array_of_json_is_read_too(self) -> None:
        found = rows("tokenvend", JSON, b'[\n {"email": "ada@example.org", "display_name": "Ada"},\n {"mail": "x"}\n]')
        assert emails(found) == ["ada@example.org", "unknown_member"]

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("Ada \U0001fa77 \uf8ff", "Ada \U0001fa77 \uf8ff"),
            ("x" * 10_000, "x" * 100),
            ("a\x1b[31m", "a [31m"),
            ("\ud800", None),
            ("\u202eevil", "evil"),
            ({"a": 1}, None),
            (7, None),
        ],
        ids=ascii,
    )
    @pytest.mark.parametrize(
        ("source", "form", "member"),
        [
            ("tokenvend", NDJSON, "display_name"),
            ("auth0", NDJSON, "name"),
            ("firebase", JSON, "displayName"),
        ],
    )
    def test_no_name_costs_a_user(
        self, source: SourceName, form: str, member: str, name: object, kept: str | None
    ) -> None:
        row = {"email": "ada@example.org", member: name}
        document = {"users": [row]} if form == JSON else row
        [user] = rows(source, form, json.dumps(document).encode())
        assert isinstance(user, ImportedUser)
        assert user.display_name == kept

    @pytest.mark.parametrize(
        ("members", "code"),
        [
            ({"email": "*@"}, "invalid_email"),
            ({"email": "a b@example.org"}, "invalid_email"),
            ({"email": "a\r\nBcc: x@example.org"}, "invalid_email"),
            ({"email": "x" * 400 + "@example.org"}, "invalid_email"),
            ({"email": "\ud800@example.org"}, "invalid_email"),
            ({"email": 7}, "invalid_value"),
            ({"email": None}, "missing_email"),
            ({"email_verified": "perhaps"}, "invalid_value"),
            ({"email_verified": 3}, "invalid_value"),
            ({"email_verified": 1.0}, "invalid_value"),
            ({"created_at": 17}, "invalid_value"),
            ({"created_at": True}, "invalid_value"),
            ({"created_at": 1e30}, "invalid_value"),
            ({"created_at": {"$date": {}}}, "invalid_value"),
            ({"status": "erased"}, "invalid_value"),
            ({"created_at": "yesterday"}, "invalid_value"),
            ({"created_at": "0001-01-01T00:00:00+14:00"}, "invalid_value"),
            ({"created_at": "9999-12-31T23:59:59Z"}, "invalid_value"),
            ({"is_admin": True}, "unknown_member"),
            ({"email_key": "x"}, "unknown_member"),
            ({"password": "secret"}, "unknown_member"),
            ({"password_hash": "plaintext"}, "unsupported_hash"),
            ({"password_hash": "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": BCRYPT.replace("$10$", "$31$")}, "unsupported_hash"),
            ({"password_hash": "$pbkdf2-sha256$99999999$c2FsdHNhbHQ$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "$pbkdf2-sha256$i=99999999,l=32$c2FsdHNhbHQ$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "$scrypt$ln=14,r=8,p=1$c2Fs\ndHNhbHQ$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$\0" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "$y$j9T$abc$" + "A" * 43}, "unsupported_hash"),
            ({"password_hash": "\ud800" * 10}, "unsupported_hash"),
            ({"password_hash": "x" * 60_000}, "unsupported_hash"),
            ({"role": "r" * 65}, "invalid_value"),
            ({"id": "i" * 65}, "invalid_value"),
            ({"password_hash": ["$2b$10$"]}, "invalid_value"),
        ],
    )
    def test_what_does_not_fit_is_refused_whole(self, members: dict[str, Any], code: str) -> None:
        row = native(**members)
        assert code_of(row) == code
        assert isinstance(row, RowProblem)
        assert all(str(value) not in row.message for value in members.values() if isinstance(value, str))

    @pytest.mark.parametrize("value", [0, 1, "0", "1", "t", False])
    def test_zero_and_one_are_truths(self, value: object) -> None:
        """SQLite and MySQL have no others, and their exports as JSON have numbers."""
        row = native(email_verified=value)
        assert isinstance(row, ImportedUser)
        assert row.email_verified == (value in (1, "1", "t"))

    @pytest.mark.parametrize(
        "value",
        [
            1_706_702_400,
            1_706_702_400.0,
            "1706702400",
            "1706702400.000",
            1_706_702_400_000,
            "1706702400000",
            {"$date": "2024-01-31T12:00:00Z"},
            {"$date": {"$numberLong": "1706702400000"}},
            {"__type": "Date", "iso": "2024-01-31T12:00:00.000Z"},
            "2024-01-31T13:00:00+01:00",
            "20240131T120000Z",
        ],
        ids=str,
    )
    def test_moments_are_read_as_they_are_exported(self, value: object) -> None:
        row = native(created_at=value)
        assert isinstance(row, ImportedUser)
        assert row.created_at == datetime(2024, 1, 31, 12, tzinfo=UTC)

    def test_an_unquoted_hash_says_what_is_wrong_with_its_row(self) -> None:
        text = b"email,password_hash\na@example.org,$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$AAAA\nb@example.org\n"
        hashed, short = rows("tokenvend", CSV, text)
        assert isinstance(hashed, RowProblem)
        assert isinstance(short, RowProblem)
        assert (hashed.code, short.code) == ("misfit_row", "misfit_row")
        assert "quotation marks" in hashed.message
        assert "quotation marks" not in short.message

    def test_firebases_hash_moves_on_to_another_database(self) -> None:
        stored = firebase_hash("c2FsdA==", base64.b64encode(bytes(64)).decode())
        assert isinstance(native(password_hash=stored), ImportedUser)
        assert code_of(native(password_hash=f"{stored}=")) == "unsupported_hash"

    @pytest.mark.parametrize("line", [b"[]", b"null", b"{", b'{"email": "a@b.org", "email": "c@d.org"}', b"[" * 50_000])
    def test_a_line_that_is_no_object_costs_itself_alone(self, line: bytes) -> None:
        found = rows("tokenvend", NDJSON, line, b'\n{"email": "ada@example.org"}\n')
        assert emails(found) == ["malformed_row", "ada@example.org"]

    def test_a_line_of_ten_megabytes_is_not_held(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield b'{"email": "'
            yield from itertools.repeat(b"x" * 100_000, 100)
            yield b'"}\n{"email": "ada@example.org"}\n'

        tracemalloc.start()
        try:
            found = [
                formats.user_of(SOURCES["tokenvend"], row) for row in SOURCES["tokenvend"].readers[NDJSON](chunks())
            ]
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        assert emails(found) == ["row_too_long", "ada@example.org"]

    def test_an_apostrophe_of_json_is_its_owners(self) -> None:
        row = native(display_name="'=x")
        assert isinstance(row, ImportedUser)
        assert row.display_name == "'=x"


class TestSpreadsheet:
    """IM6"""

    CELLS = (
        *("=1+1", "+x", "-x", "@x", "＝x", "'", "''=x", "'=x", "plain", "O'Hara", "x;=1+1;y", "x,=1", "x|@y", "x; =1"),
        *('x;"=1+1', '";"=1+1', "x:-1", "Lovelace, Ada", "a;'b", "a+b", 'x;"" =1', "x;＠y", "x;\u3000=1"),
    )

    @pytest.mark.parametrize("text", CELLS)
    def test_each_comes_back(self, text: str) -> None:
        header = csv_line(COLUMNS[1:4])
        (row,) = rows("tokenvend", CSV, (header + csv_line(["=a@example.org", "true", text])).encode())
        assert isinstance(row, ImportedUser)
        assert (row.address.text, row.display_name) == ("=a@example.org", text)

    @pytest.mark.parametrize("text", CELLS)
    @pytest.mark.parametrize("divider", [*",;|:\t"])
    @pytest.mark.parametrize("mark", ['"', None])
    def test_none_is_a_formula_wherever_a_line_is_divided(self, text: str, divider: str, mark: str | None) -> None:
        line = csv_line(["id", text, text, "active"])
        quoting = csv.QUOTE_MINIMAL if mark else csv.QUOTE_NONE
        (cells,) = csv.reader([line], delimiter=divider, quotechar=mark, quoting=quoting)
        for cell in cells:
            assert not cell.lstrip('" ').startswith(tuple("=+-@＝＋－＠")), cell

    @given(st.text(alphabet="a'\"=+-@＝,;|: \t\r\n", max_size=14))
    @up_to(500)
    def test_disarming_can_be_undone(self, text: str) -> None:
        assert armed(disarmed(text)) == text

    def test_what_people_are_called_stays_as_it_is(self) -> None:
        for name in ("Ada Lovelace", "O'Hara", "Jean-Luc", "Lovelace, Ada", "a+b@example.org"):
            assert disarmed(name) == name


class TestFirebase:
    SIGNER = base64.b64decode(
        "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
    )

    def test_the_published_vector(self) -> None:
        """github.com/firebase/scrypt, README."""
        checksum = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
        scrypt = FirebaseScrypt(self.SIGNER, b"\x07", rounds=8, mem_cost=14)
        for alphabet in (str.maketrans("", ""), str.maketrans("+/", "-_")):
            stored = firebase_hash("42xEC+ixf3L2lw==".translate(alphabet), checksum.translate(alphabet))
            assert stored is not None
            assert scrypt.verify("user1password", stored)
            assert not scrypt.verify("user1Password", stored)
        assert "jxspr8Ki0" not in repr(scrypt)

    @pytest.mark.parametrize(
        ("salt", "checksum"), [("", "AAAA"), ("c2FsdA==", ""), ("c2FsdA==", "A" * 40), ("!", "A" * 86 + "==")]
    )
    def test_other_hashes_are_refused(self, salt: str, checksum: str) -> None:
        assert firebase_hash(salt, checksum) is None

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"[]",
            b'{"users": {}}',
            b'{"users": [{}',
            b'{"users": [{} {}]}',
            b'{"users": [{},]}',
            b'{"users": [,{}]}',
            b'{"users": [{"email": "\xff"}]}',
            b'{"users": [{"a": "' + b"x" * 200_000,
            b'{"users": [' + b"[" * 100_000,
            b'{"users": [{"email": "a@b.org"}, NaN]}',
        ],
    )
    def test_what_is_no_such_file_is_refused(self, text: bytes) -> None:
        with pytest.raises(UnreadableImport):
            rows("firebase", JSON, text)

    @pytest.mark.parametrize("text", [b'{"users": []}', b'{"users":[\n\n]\n}\n'])
    def test_a_project_without_users_has_none(self, text: bytes) -> None:
        assert rows("firebase", JSON, text) == []

    def test_a_row_is_bounded_however_large_the_pieces_are(self) -> None:
        """IM9"""
        text = b'{"users": [{"email": "' + b"x" * 70_000 + b'"}, {"email": "a@example.org"}]}'
        assert emails(rows("firebase", JSON, text)) == ["row_too_long", "a@example.org"]

    @pytest.mark.parametrize("piece", [1_000, 50_000, 1_000_000])
    def test_a_row_that_is_too_long_costs_itself_alone_wherever_the_file_is_cut(self, piece: int) -> None:
        long = b'{"email": "b@example.org", "customAttributes": "' + b'[{\\"' * 40_000 + b'"}'
        text = b'{"users": [{"email": "a@example.org"}, ' + long + b', {"a": 1, "a": 2}, {"email": "c@example.org"}]}'
        found = emails(rows("firebase", JSON, *(text[at : at + piece] for at in range(0, len(text), piece))))
        assert found == ["a@example.org", "row_too_long", "malformed_row", "c@example.org"]

    def test_csv_is_read_by_place_as_the_tool_writes_it(self) -> None:
        """firebase-tools, src/accountExporter.ts, which has no header. Versions before 15 escaped no quotation mark."""
        tail = f",,{',' * 15},1706702400000,,,false,,"
        lines = [
            f'k1,a@example.org,true,,,"Ada "The, Countess" L"{tail}',
            f'k2,b@example.org,true,,,Ada "Countess" L{tail}',
            f'k3,c@example.org,true,,,Ada "Countess{tail}',
            f"k4,d@example.org,true,,,Ada{tail}",
            "k5,e@example.org",
            f'k6,f@example.org,true,,,"A\n\nd\n""a"""{tail}{"," * 24}',
            f"k7,g@example.org,true,,,Ada,{tail}",
        ]
        found = rows("firebase", CSV, "\n".join(lines).encode())
        assert emails(found) == [
            *("misfit_row", "b@example.org", "c@example.org", "d@example.org", "misfit_row", "f@example.org"),
            "misfit_row",
        ]
        names = [row.display_name for row in found if isinstance(row, ImportedUser)]
        assert names == ['Ada "Countess" L', 'Ada "Countess', "Ada", 'A d "a"']
        assert {row.created_at for row in found if isinstance(row, ImportedUser)} == {
            datetime(2024, 1, 31, 12, tzinfo=UTC)
        }

    def test_csv_says_what_its_json_says(self) -> None:
        found = [rows("firebase", CSV, (SAMPLES / "firebase.csv").read_bytes())]
        found.append(rows("firebase", JSON, (SAMPLES / "firebase.json").read_bytes()))
        for csv_row, json_row in zip(*found, strict=True):
            assert isinstance(csv_row, ImportedUser)
            assert isinstance(json_row, ImportedUser)
            assert csv_row._replace(display_name=json_row.display_name) == json_row

    def test_an_entry_that_is_no_object_costs_itself_alone(self) -> None:
        assert emails(rows("firebase", JSON, b'{"users": [1, {"email": "a@example.org"}]}')) == [
            "malformed_row",
            "a@example.org",
        ]


class TestSupabase:
    """IM7"""

    COPY = b"COPY auth.users (email, encrypted_password) FROM stdin;\n"

    def test_inserts_as_the_dashboards_command_writes_them(self) -> None:
        dump = (
            "SET session_replication_role = replica;\n\n"
            'INSERT INTO "auth"."users" ("email", "raw_user_meta_data", "email_confirmed_at", "is_sso_user") VALUES\n'
            "\t('ada@example.org', '{\"name\": \"O''Hara\\n\nx\"}', '2024-09-04 06:21:04+00', false),\n"
            "\t('grace@example.org', NULL, NULL, true);\n\n"
            "INSERT INTO auth.users (email, is_sso_user) VALUES ('alan@example.org', 'f');\n"
        )
        for size in (5, len(dump)):
            data = dump.encode()
            found = rows("supabase", SQL, *(data[at : at + size] for at in range(0, len(data), size)))
            assert emails(found) == ["ada@example.org", "sso_user", "alan@example.org"]

    def test_single_sign_on_takes_nobodys_account(self) -> None:
        """Supabase allows both users with one address. Only one of them has a password to lose."""
        dump = (
            b"COPY auth.users (email, encrypted_password, is_sso_user) FROM stdin;\n"
            b"ada@example.org\t\\N\tt\nada@example.org\t" + BCRYPT.encode() + b"\tf\n\\.\n"
        )
        found = rows("supabase", SQL, dump)
        assert emails(found) == ["sso_user", "ada@example.org"]
        assert isinstance(found[1], ImportedUser)
        assert found[1].password_hash == BCRYPT

    @pytest.mark.parametrize(
        ("until", "disabled", "ends"),
        [
            ("2024-06-01 00:00:00+00", False, datetime(2024, 6, 1, tzinfo=UTC)),
            ("2123-06-01 00:00:00+00", False, datetime(2123, 6, 1, tzinfo=UTC)),
            ("infinity", True, None),
            ("12024-06-01 00:00:00+00", True, None),
            (None, False, None),
        ],
    )
    def test_a_ban_has_an_end(self, until: str | None, disabled: bool, ends: datetime | None) -> None:
        text = f"email,banned_until\nada@example.org,{until or ''}\n"
        (row,) = rows("supabase", CSV, text.encode())
        assert isinstance(row, ImportedUser)
        assert (row.disabled, row.banned_until) == (disabled, ends)

    PHOTO = b'{"avatar": "' + b"it''s(A) " * 9_000 + b'"}'

    @pytest.mark.parametrize("size", [100, 70_000, 1_000_000])
    @pytest.mark.parametrize(
        "dump",
        [
            (
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES\n"
                b"\t('a@example.org', '{}'),\n\t('b@example.org', '%b'),\n\t('c@example.org', NULL);\n"
            ),
            (
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES ('a@example.org', '{}');\n"
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES ('b@example.org', '%b');\n"
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES ('c@example.org', '{}');\n"
            ),
            (
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES "
                b"('a@example.org', '{}'), ('b@example.org', '%b'), ('c@example.org', '{}');\n"
            ),
            (
                b"INSERT INTO auth.users (email, raw_user_meta_data) VALUES ('a@example.org', 'x\n\ny'), "
                b"('b@example.org', '\n%b\n'), ('c@example.org', '{}');\n"
            ),
            (
                b"COPY auth.users (email, raw_user_meta_data) FROM stdin;\n"
                b"a@example.org\t{}\nb@example.org\t%b\nc@example.org\t\\N\n\\.\n"
            ),
        ],
        ids=["many rows", "one row", "one line", "many lines", "copy"],
    )
    def test_a_picture_in_the_metadata_costs_its_row_alone(self, dump: bytes, size: int) -> None:
        data = dump % self.PHOTO
        found = rows("supabase", SQL, *(data[at : at + size] for at in range(0, len(data), size)))
        assert emails(found) == ["a@example.org", "row_too_long", "c@example.org"]

    @pytest.mark.parametrize("size", [100, 70_000, 1_000_000])
    def test_a_picture_in_another_table_costs_nothing(self, size: int) -> None:
        planted = b"INSERT INTO auth.users (email) VALUES (''evil@example.org'');\n"
        data = (
            b"INSERT INTO pictures (data) VALUES ('" + b"A" * 70_000 + planted + b"A" * 70_000 + b"');\n"
            b"COPY pictures (data) FROM stdin;\n" + b"A" * 65_536 + b"\\.\n" + b"A" * 80_000 + b"\n\\.\n"
            b"-- Data for Name: O'Hara; " + b"A" * 70_000 + b"\n"
            b"COPY auth.users (email) FROM stdin;\na@example.org\n\\.\n"
        )
        found = rows("supabase", SQL, *(data[at : at + size] for at in range(0, len(data), size)))
        assert emails(found) == ["a@example.org"]

    def test_inserts_without_columns_say_what_to_do(self) -> None:
        with pytest.raises(UnreadableImport, match="--column-inserts"):
            rows("supabase", SQL, b"INSERT INTO auth.users VALUES ('ada@example.org');\n")

    def test_escapes_of_copy(self) -> None:
        dump = (
            b'COPY auth.users (email, raw_user_meta_data) FROM stdin;\na@example.org\t{"name": "tab\\\\\\\\t"}\n\\.\n'
        )
        (row,) = rows("supabase", SQL, dump)
        assert isinstance(row, ImportedUser)
        assert row.display_name == "tab\\t"

    @pytest.mark.parametrize(
        "planted",
        [
            b"COPY public.posts (title) FROM stdin;\n" + COPY + b"evil@example.org\t\\N\n\\.\n",
            b"INSERT INTO public.posts VALUES ('x\n" + COPY + b"evil@example.org\t\\N\n\\\\.\n');\n",
            b"INSERT INTO posts VALUES ('x''\nINSERT INTO auth.users (email) VALUES (''evil@example.org'');\n');\n",
        ],
    )
    def test_what_a_user_typed_elsewhere_is_no_user(self, planted: bytes) -> None:
        found = emails(rows("supabase", SQL, planted, self.COPY, b"ada@example.org\t\\N\n\\.\n"))
        assert "evil@example.org" not in found
        assert found[-1:] == ["ada@example.org"] or not found

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"SELECT 1;\n",
            COPY + b"a@example.org\t\\N\n",
            b"COPY auth.users (id) FROM stdin;\n\\.\n",
            b"INSERT INTO auth.users (email) VALUES (E'a\\'');\n",
            b"INSERT INTO auth.users (email) VALUES ('a",
            b"INSERT INTO auth.users (email) VALUES ('a@example.org'),\n",
            b"INSERT INTO auth.users (email) VALUES\n, ('a@example.org');\n",
            b"INSERT INTO auth.users (email) VALUES ();\n",
            b"INSERT INTO auth.users (email) VALUES (lower('A'));\n",
            b"INSERT INTO auth.users (email) VALUES\n" + b"('a@example.org'" * 10_000,
        ],
    )
    def test_what_is_no_such_dump_is_refused(self, text: bytes) -> None:
        with pytest.raises(UnreadableImport):
            rows("supabase", SQL, text)


class TestAuth0:
    @pytest.mark.parametrize(
        "custom",
        [
            {"algorithm": "bcrypt", "hash": {"value": BCRYPT}},
            {
                "algorithm": "pbkdf2",
                "hash": {"value": "$pbkdf2-sha256$i=100000,l=32$c2FsdHNhbHQ$" + "A" * 43, "encoding": "utf8"},
            },
            {"algorithm": "argon2", "hash": {"value": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$" + "A" * 43}},
            {
                "algorithm": "scrypt",
                "hash": {"value": "00" * 32, "encoding": "hex"},
                "salt": {"value": "salt"},
                "keylen": 32,
                "cost": 16384,
            },
            {
                "algorithm": "ldap",
                "hash": {"value": "{SSHA}wnGzj3HhhCmbE9M+/Pqvxz4zbatJKSWk", "encoding": "utf8"},
                "password": {"encoding": "ascii"},
            },
        ],
    )
    def test_its_imports_own_hashes_are_taken(self, custom: dict[str, Any]) -> None:
        (row,) = rows("auth0", NDJSON, json.dumps({"email": "a@example.org", "custom_password_hash": custom}).encode())
        assert isinstance(row, ImportedUser)
        assert row.password_hash

    @pytest.mark.parametrize(
        "custom",
        [
            "x",
            {},
            {"algorithm": "md5", "hash": {"value": "00" * 16, "encoding": "hex"}},
            {
                "algorithm": "scrypt",
                "hash": {"value": "00" * 32, "encoding": "hex"},
                "salt": {"value": "s"},
                "cost": 2**30,
            },
            {"algorithm": "scrypt", "hash": {"value": "zz", "encoding": "hex"}, "salt": {"value": "s"}},
            {
                "algorithm": "scrypt",
                "hash": {"value": "00" * 32, "encoding": "hex"},
                "salt": {"value": "s"},
                "keylen": "32",
            },
            {
                "algorithm": "scrypt",
                "hash": {"value": "00" * 64, "encoding": "hex"},
                "salt": {"value": "s"},
                "keylen": 32,
            },
            {"algorithm": "scrypt", "hash": {"value": "00" * 31, "encoding": "hex"}, "salt": {"value": "s"}},
            {"algorithm": "scrypt", "hash": {"value": "00" * 64, "encoding": "hex"}},
            {"algorithm": "scrypt", "hash": {"value": "00" * 64, "encoding": "hex"}, "salt": {"value": ""}},
            {"algorithm": "sha256", "hash": {"value": "00" * 32, "encoding": "hex"}},
            {
                "algorithm": "sha256",
                "hash": {"value": "00" * 32, "encoding": "hex"},
                "salt": {"value": "pepper", "position": "prefix"},
            },
            {
                "algorithm": "sha256",
                "hash": {"value": "00" * 20, "encoding": "hex"},
                "salt": {"value": "pepper", "position": "suffix"},
            },
            {"algorithm": "hmac", "hash": {"value": "00" * 32, "encoding": "hex", "key": {"value": "k"}}},
            {"algorithm": "bcrypt", "hash": {"value": BCRYPT}, "password": {"encoding": "utf16le"}},
        ],
    )
    def test_others_are_refused(self, custom: Any) -> None:
        (row,) = rows("auth0", NDJSON, json.dumps({"email": "a@example.org", "custom_password_hash": custom}).encode())
        assert code_of(row) == "unsupported_hash"

    @pytest.mark.parametrize("size", [32, 64])
    @pytest.mark.parametrize("encoding", ["hex", "base64", "urlsafe"])
    def test_scrypt_as_auth0_describes_it_is_verified(self, size: int, encoding: str) -> None:
        checksum = hashlib.scrypt(b"violet", salt=b"pepper", n=1024, r=8, p=1, dklen=size)
        written = {
            "hex": checksum.hex(),
            "base64": base64.b64encode(checksum).decode(),
            "urlsafe": base64.urlsafe_b64encode(checksum).decode().rstrip("="),
        }[encoding]
        custom = {
            "algorithm": "scrypt",
            "hash": {"value": written, "encoding": "hex" if encoding == "hex" else "base64"},
            "salt": {"value": "pepper", "encoding": "utf8"},
            "keylen": size,
            "cost": 1024,
        }
        stored = self.stored(custom)
        assert PASSWORD_CONTEXT.verify("violet", stored)
        assert not PASSWORD_CONTEXT.verify("violets", stored)

    @pytest.mark.parametrize(
        ("algorithm", "position"),
        [("md5", "suffix"), ("sha1", "suffix"), ("sha256", "suffix"), ("sha512", "suffix"), ("sha1", "prefix")],
    )
    def test_digests_with_a_salt_are_verified(self, algorithm: str, position: str) -> None:
        digested = b"violetpepper" if position == "suffix" else b"pepperviolet"
        custom = {
            "algorithm": algorithm,
            "hash": {"value": hashlib.new(algorithm, digested).hexdigest(), "encoding": "hex"},
            "salt": {"value": "cGVwcGVy", "encoding": "base64", "position": position},
        }
        stored = self.stored(custom)
        assert PASSWORD_CONTEXT.verify("violet", stored)
        assert not PASSWORD_CONTEXT.verify("violets", stored)

    def stored(self, custom: Mapping[str, Any]) -> str:
        (row,) = rows("auth0", NDJSON, json.dumps({"email": "a@example.org", "custom_password_hash": custom}).encode())
        assert isinstance(row, ImportedUser), row
        assert row.password_hash
        return row.password_hash

    @pytest.mark.parametrize(
        "header", ["Email,Email Verified,Name,Blocked,Created At", "email,email_verified,name,blocked,created_at"]
    )
    def test_columns_of_csv_have_either_name(self, header: str) -> None:
        (row,) = rows("auth0", CSV, f"{header}\nada@example.org,true,Ada,true,2024-01-31T12:00:00.000Z\n".encode())
        assert isinstance(row, ImportedUser)
        assert (row.email_verified, row.display_name, row.disabled) == (True, "Ada", True)
        assert row.created_at == datetime(2024, 1, 31, 12, tzinfo=UTC)

    def test_a_name_that_is_the_address_gives_way_to_its_parts(self) -> None:
        found = rows("auth0", CSV, (SAMPLES / "auth0.csv").read_bytes())
        assert [isinstance(row, ImportedUser) and row.display_name for row in found] == ["Ada Lovelace", "Grace Hopper"]


class TestCognito:
    @pytest.mark.parametrize("written", ["1795933291.39", "2026-11-29T06:21:31.390000+00:00"])
    def test_moments_of_both_versions_of_the_command_line(self, written: str) -> None:
        """Version 1 writes seconds since 1970, into the guide's CSV too."""
        text = f"email,user_status,created_at\nada@example.org,CONFIRMED,{written}\n"
        (row,) = rows("cognito", CSV, text.encode())
        assert isinstance(row, ImportedUser)
        assert row.created_at is not None
        assert abs(row.created_at - datetime(2026, 11, 29, 6, 21, 31, 390_000, UTC)) < timedelta(milliseconds=1)

    def test_what_is_printed_says_what_the_csv_says(self) -> None:
        found = [rows("cognito", CSV, (SAMPLES / "cognito.csv").read_bytes())]
        found.append(rows("cognito", JSON, (SAMPLES / "cognito.json").read_bytes()))
        flat = [
            [(row.address, row.disabled, row.awaits_password) for row in one if isinstance(row, ImportedUser)]
            for one in found
        ]
        assert flat[0] == flat[1]
        assert len(flat[0]) == 3


def test_an_export_has_the_columns_that_an_import_knows() -> None:
    assert exports.columns(with_hashes=True) == COLUMNS
    assert "password_hash" not in exports.header("csv", with_hashes=False)

"""The table of what takes minutes each: a run of some pieces keeps the rows of the others."""

from pathlib import Path

import pytest

from tests import long
from tests.long import PIECES, Row

KEPT = Row("failed", 361, "2026-11-23")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "test-long.md"
    path.write_text(long.page({"storm": KEPT}, {"Python": "3.11"}), encoding="utf-8")
    monkeypatch.setattr(long, "TABLE", path)
    monkeypatch.setattr(long, "VERSIONS", {})
    return path


def run(monkeypatch: pytest.MonkeyPatch, *pieces: str) -> object:
    monkeypatch.setattr("sys.argv", ["tests.long", *pieces])
    with pytest.raises(SystemExit) as end:
        long.main()
    return end.value.code


class TestTable:
    def test_has_each_piece_once(self, table: Path) -> None:
        rows = [line.split(" | ")[0] for line in table.read_text(encoding="utf-8").splitlines()]
        assert [row.removeprefix("| ") for row in rows if row.removeprefix("| ") in PIECES] == list(PIECES)

    @pytest.mark.parametrize(("status", "outcome"), [(0, "passed"), (3, "failed"), (5, "empty")])
    def test_has_what_a_run_gave_and_the_rows_of_before(
        self, table: Path, monkeypatch: pytest.MonkeyPatch, status: int, outcome: str
    ) -> None:
        monkeypatch.setitem(PIECES, "bench", ("as ever", ("sh", "-c", f"exit {status}")))
        assert run(monkeypatch, "bench") == (outcome == "failed")
        read = long._read(table)
        assert (read["bench"].outcome, read["storm"]) == (outcome, KEPT)

    def test_a_piece_that_is_unknown_is_named(
        self, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, "storms") == 2
        assert "no such piece: storms" in capsys.readouterr().err

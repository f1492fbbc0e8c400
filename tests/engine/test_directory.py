"""The ports that an engine takes, without starting one."""

from pathlib import Path

import pytest

from app.engine import EngineError, config, directory


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that somebody else has."""
    ports: set[int] = set()
    monkeypatch.setattr(directory, "_is_free", lambda port: port not in ports)
    return ports


class TestPorts:
    def test_are_the_wanted_ones(self, tmp_path: Path, taken: set[int]) -> None:
        first, keys = directory.kept(tmp_path, wanted=8333)
        assert first == 8333
        assert directory.kept(tmp_path) == (first, keys)

    @pytest.mark.parametrize("port", [*config.ports(8333).values(), config.ports(8333, aside=True)["s3.port"]])
    def test_are_the_next_ones_where_one_is_taken(self, tmp_path: Path, taken: set[int], port: int) -> None:
        _, keys = directory.kept(tmp_path, wanted=8333)
        taken.add(port)
        assert directory.kept(tmp_path, wanted=8333) == (8343, keys)
        taken.clear()
        assert directory.kept(tmp_path) == (8343, keys)
        assert directory.kept(tmp_path, wanted=8333) == (8333, keys)

    def test_that_are_all_taken_are_an_error_that_says_so(self, tmp_path: Path, taken: set[int]) -> None:
        taken.update(range(8333, 8333 + 10 * directory.MOST_TRIED))
        with pytest.raises(EngineError, match="No ten ports from 8333 on are free for the engine"):
            directory.kept(tmp_path, wanted=8333)

    def test_aside_leave_the_first_one_free(self) -> None:
        aside, usual = config.ports(8333, aside=True), config.ports(8333)
        assert usual["s3.port"] == 8333
        assert 8333 not in aside.values()
        assert len(set(aside.values())) == len(usual)

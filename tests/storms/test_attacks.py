"""VC11, VC12: a hundred addresses attack, and other users neither lose their credential nor are refused one."""

from pathlib import Path

import pytest

from tests.storms import attacks
from tests.storms.strangers import ATTACKS
from tests.support.databases import PostgresDatabases

pytestmark = pytest.mark.all
FIRST, *OTHERS = ATTACKS


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
class TestAttack:
    def test_others_keep_their_credential_and_are_not_refused(
        self, name: str, postgres_databases: PostgresDatabases, tmp_path: Path
    ) -> None:
        """How much slower they sign in is for `make storm` to say."""
        (taken,) = attacks.measure(attacks.QUICK, tmp_path, postgres_databases, (name,))
        assert sum(taken.answers.values()) > 10
        assert taken.seen.most_credentials == 1
        assert (taken.seen.refused, taken.floors) == (0, 0)

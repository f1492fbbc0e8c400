"""One cache of compiled SQL for all databases of a kind: each test has a new one, and would compile all anew.

SQLAlchemy 2.1 compares the dialects of cached statements by identity. Those of tests compile to the same text.
"""

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, util
from sqlalchemy.engine.default import DefaultDialect

from app.platform import db

STATEMENTS = 3000
_compiled: util.LRUCache[Any, Any] = util.LRUCache(STATEMENTS)


def share(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DefaultDialect, "__eq__", lambda one, other: type(one) is type(other))
    patch.setattr(DefaultDialect, "__hash__", lambda dialect: hash(type(dialect)))
    patch.setattr(db, "create_engine", _with_shared_cache)


def _with_shared_cache(*arguments: Any, **options: Any) -> Engine:
    engine = create_engine(*arguments, **options)
    engine._compiled_cache = _compiled
    return engine

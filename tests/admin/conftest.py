"""Every account of these tests has a hash that costs little."""

import pytest

from tests.security.cheap_hashing import CountingContext


@pytest.fixture(autouse=True)
def cheap(hashing: CountingContext) -> CountingContext:
    return hashing

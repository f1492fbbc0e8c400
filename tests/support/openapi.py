"""The OpenAPI document, made once for a process: it takes a second, and many tests walk it."""

import functools
from typing import Any

from app.main import create_api


@functools.cache
def openapi() -> dict[str, Any]:
    """Not to be changed by who gets it."""
    return create_api().openapi()

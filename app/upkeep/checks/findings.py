"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """No text holds a password, a key or another secret."""

    name: str
    """Of what was looked at, such as `database`."""
    state: State
    text: str
    repair: str = ""
    """What the operator can do; empty where nothing is wrong."""

    @property
    def message(self) -> str:
        return f"{self.text}; {self.repair}" if self.repair else self.text

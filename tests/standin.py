"""Somebody who stands in for what each test makes anew, where what asks them is made once."""

from typing import Any


class Standin:
    """Has whatever its target has at the moment."""

    def __init__(self) -> None:
        self.target: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

"""A stand-in for the typing module while a short command runs: the real one costs 12 ms, a third of a whole answer.

The core imports only `Final`, `Protocol` and `TYPE_CHECKING` when it runs, and never looks at its annotations. Whoever
asks the stand-in for any other name gets the real module, which then takes its place.
"""

from __future__ import annotations

import sys


class LightFinal:
    """Stands for typing.Final in annotations."""

    def __class_getitem__(cls, item: object) -> type[LightFinal]:
        """Stand for `Final[int]` too."""
        return cls


class LightTyping(type(sys)):  # type: ignore[misc]
    """The module object."""

    TYPE_CHECKING = False
    Final = LightFinal
    Protocol = object

    def __getattr__(self, name: str) -> object:
        """Load the real module for whatever is not here."""
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("typing") is self:
            del sys.modules["typing"]
        import typing

        return getattr(typing, name)


def install() -> None:
    """Put the stand-in in place unless the real module is loaded already."""
    if "typing" not in sys.modules:
        sys.modules["typing"] = LightTyping("typing")

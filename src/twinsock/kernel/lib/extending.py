"""What marks a class that code outside the core may extend: mypyc closes all others when it compiles the core.

This file alone is never compiled: mypyc sees the decorator of mypy_extensions, which is not needed to run."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**attributes):
        """Leave a class as it is."""
        return lambda cls: cls

"""Which build of the core the tests run on, and what reads objects of either."""

import twinsock.kernel.kernel

COMPILED = not str(twinsock.kernel.kernel.__file__).endswith(".py")


def fields(record: object) -> dict[str, object]:
    """Return an object's attributes, as vars() does; a compiled class has no dictionary but a table of names."""
    if not COMPILED:
        return dict(vars(record))
    return {name: getattr(record, name) for name in type(record).__mypyc_attrs__}  # type: ignore[attr-defined]

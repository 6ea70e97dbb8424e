"""Closes classes against assignment of attributes, as classes made in C are."""

import ctypes

_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
_FLAGS_AT = 168  # where tp_flags stands in struct _typeobject on machines of 64 bits


def seal(cls: type) -> None:
    """Have `cls.name = value` raise TypeError from now on; does nothing where the interpreter is laid out otherwise."""
    flags = ctypes.c_ulong.from_address(id(cls) + _FLAGS_AT)
    if flags.value == cls.__flags__:
        flags.value |= _IMMUTABLE

"""C library functions that the os module lacks, through the bare `_ctypes` module: importing ctypes costs ten times more."""

from __future__ import annotations

from os import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SYS_PIDFD_GETFD = 438  # the same number on every architecture

_functions: dict[str, Callable[..., int]] = {}


def call(name: str, *arguments: int | bytes) -> int:
    """Call a C function with integers and byte strings, and give its result. Raises OSError if that is -1."""
    import _ctypes

    function = _functions.get(name) or _load(name)
    result = function(*[_long(argument) if isinstance(argument, int) else argument for argument in arguments])
    if result == -1:
        error: int = _ctypes.get_errno()
        raise OSError(error, f"{name}: {strerror(error)}")
    return result


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into a namespace: setns(2). Raises OSError."""
    import os

    native = getattr(os, "setns", None)  # Python 3.12
    if native is not None:
        native(fd, kind)
    else:
        call("setns", fd, kind)


def _load(name: str) -> Callable[..., int]:
    """Look a function of the C library up."""
    import _ctypes

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = _simple()

    found: Callable[..., int] = Function(_ctypes.dlsym(_ctypes.dlopen("", 0), name))  # "" is the program itself
    _functions[name] = found
    return found


def _long(value: int) -> object:
    """Make a C long, because a bare Python int travels as a C int."""
    return _simple()(value)


_types: list[type] = []


def _simple() -> type:
    """Make the C long type once."""
    if not _types:
        import _ctypes

        _types.append(type("c_long", (_ctypes._SimpleCData,), {"_type_": "l"}))
    return _types[0]

"""Objects which programs keep in sets get numbers in order of their first use as their hash, in place of addresses: the order of a set
of threads, tasks, futures, connections or sockets is then the same on every machine, wherever the program lies.

Classes of the standard library are changed when they are imported; subclasses inherit it. A class with `__slots__` of its own and
without room for the number keeps the address, which is the same in each run on one machine (runtime/settle.py). Twin: D-run-3."""

from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from itertools import count
from types import ModuleType
from typing import Any

SERIAL: dict[str, tuple[str, ...]] = {
    "threading": ("Thread", "Condition", "Event", "Semaphore", "Barrier"),
    "concurrent.futures._base": ("Future",),
    "asyncio.protocols": ("BaseProtocol",),
    "asyncio.transports": ("BaseTransport",),
    "asyncio.base_events": ("Server",),
    "asyncio.tasks": ("Task",),
}
_ADDRESS = object.__hash__
_numbers = count(1)


def next_number() -> int:
    """Return the next number."""
    return next(_numbers)


def hash_by_number(self: Any) -> int:
    """Return the object's number, giving it one."""
    try:
        number: int = self._twinsock_number
    except AttributeError:
        number = next(_numbers)
        try:
            self._twinsock_number = number
        except AttributeError:
            return _ADDRESS(self)
    return number


def number_classes(module: ModuleType) -> None:
    """Change the classes of a module that was just imported."""
    for name in SERIAL[module.__name__]:
        cls = getattr(module, name)
        if cls.__module__.startswith("_"):  # in C: a subclass takes its place
            cls = type(name, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__, "__hash__": hash_by_number})
            setattr(module, name, cls)
        else:
            cls.__hash__ = hash_by_number
    if module.__name__ == "asyncio.base_events":
        _number_futures(module)


def _number_futures(module: Any) -> None:
    """Have event loops make futures with numbers; the class asyncio.Future stays, since tasks are instances of it too."""
    kind: Any = module.futures.Future
    numbered = type("Future", (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, "__hash__": hash_by_number})

    def create_future(self: Any) -> Any:
        """Create a Future object attached to the loop."""
        return numbered(loop=self)

    module.BaseEventLoop.create_future = create_future


def spec_of(name: str, path: Any) -> ModuleSpec | None:
    """Find a module of SERIAL as usual, and have its classes changed once it is loaded."""
    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.loader is None:
        return spec
    load: Callable[[ModuleType], None] = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        number_classes(module)

    spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec

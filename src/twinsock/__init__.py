"""The Linux socket layer as a Python library: ask it about your host, run your programs on it."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load `twinsock.test` and `twinsock.sim` when they are asked for: nothing of them stands on the way of a command."""
    if name == "test":
        from twinsock.sim.decorator import test

        return test
    if name == "sim":
        import importlib

        return importlib.import_module("twinsock.sim")
    raise AttributeError(f"module 'twinsock' has no attribute {name!r}")

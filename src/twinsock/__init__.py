"""The Linux socket layer as a Python library: ask it about your host, run your programs on it."""

__version__ = "0.1.0"

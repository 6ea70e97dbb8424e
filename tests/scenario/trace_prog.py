"""A program for `twinsock trace`: it listens, connects, accepts, fails to bind, closes."""

import contextlib
import socket

with socket.socket() as server, socket.socket() as second:
    server.bind(("127.0.0.1", 8123))
    server.listen(5)
    with contextlib.suppress(OSError):
        second.bind(("127.0.0.1", 8123))
    with socket.create_connection(("127.0.0.1", 8123)), server.accept()[0]:
        pass

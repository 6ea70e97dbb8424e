"""A blocking echo server in a thread, four clients in threads of their own; prints what they got in order of arrival."""

import socket
import threading
import time


def serve(listener: socket.socket, count: int) -> None:
    """Answer each connection in capitals."""
    for _ in range(count):
        connection, _address = listener.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data.upper())


def ask(address: tuple[str, int], number: int) -> None:
    """Send one line and print the answer."""
    with socket.create_connection(address) as connection:
        connection.sendall(f"client {number}".encode())
        print(connection.recv(100).decode())


def main() -> None:
    """Run the server and its clients, then sleep an hour."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        server = threading.Thread(target=serve, args=(listener, 4))
        clients = [threading.Thread(target=ask, args=(address, number)) for number in range(4)]
        for thread in [server, *clients]:
            thread.start()
        for thread in [server, *clients]:
            thread.join()
    start = time.monotonic()
    time.sleep(3600)
    print("slept", time.monotonic() - start)


main()

"""A server and a client in one program, as anybody would write them: `./dev trace examples/echo.py`."""

import socket
import threading


def serve(listener):
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100))
    connection.close()


listener = socket.socket()
listener.bind(("127.0.0.1", 7777))
listener.listen()
server = threading.Thread(target=serve, args=(listener,))
server.start()
client = socket.create_connection(("127.0.0.1", 7777))
client.sendall(b"hello")
print(client.recv(100).decode())
client.close()
server.join()
listener.close()

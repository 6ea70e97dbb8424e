"""Boot a kernel, make two network namespaces with a cable between them, open sockets, and watch the counters change."""

from twinsock.kernel.boot import start_kernel
from twinsock.runtime.lab import connect_namespaces, new_namespace, read_proc

kernel = start_kernel(seed=1)
east, west = new_namespace(kernel), new_namespace(kernel)
connect_namespaces(east, "10.0.0.1/24", west, "10.0.0.2/24")


def show(moment):
    for name, env in ("east", east), ("west", west):
        print(f"{moment:9} {name}:", " | ".join(read_proc(env, "sockstat").splitlines()[:2]))


show("booted")
server = west.socket.create_server(("10.0.0.2", 80))
show("listening")
client = east.socket.create_connection(("10.0.0.2", 80))
show("connected")
peer, address = server.accept()
client.sendall(b"hello")
print(f"west got {peer.recv(100)!r} from {address[0]}, {kernel.clock.now_ns} ns after booting")
client.close()
peer.close()
show("closed")

"""Sockets that only descriptors in flight hold, and nobody can receive any more (Linux: net/unix/garbage.c).

A socket in flight is a vertex; each of its descriptors is an edge to the socket in whose queue it waits:

    A --fd of A waits at--> B        A is alive when somebody has it open, or when some B it leads to is alive.

Linux walks strongly connected components in a worker; the twin marks what is alive when a socket is released (D-unix-1).
Both free the same."""

from __future__ import annotations

from twinsock.kernel.net.socket import sock_from_file
from twinsock.kernel.net.unix.unix_sock import ScmFpList, UnixSkb, UnixSock, delayed_fput_busy
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.fs.file import File
    from twinsock.kernel.net.unix.unix_sock import UnixState


class UnixEdge:
    """One descriptor of `predecessor` waiting in the queue of `successor`."""

    def __init__(self, predecessor: UnixSock, successor: UnixSock) -> None:
        self.predecessor = predecessor
        self.successor = successor

    def holder(self) -> UnixSock:
        """Return the socket whose file keeps the queue alive: a listener for a connection not accepted yet."""
        listener = self.successor.listener
        return self.successor if listener is None else listener


def unix_get_socket(file: File) -> UnixSock | None:
    """Return the UNIX socket behind a file."""
    sock = sock_from_file(file)
    if sock is None:
        return None
    sk = sock.sk
    return sk if isinstance(sk, UnixSock) else None


def unix_add_edges(state: UnixState, fpl: ScmFpList, receiver: UnixSock) -> None:
    """Count descriptors as in flight: their message enters the queue of `receiver`."""
    fpl.inflight = True
    state.user_inflight[fpl.uid] = state.user_inflight.get(fpl.uid, 0) + len(fpl.files)
    for file in fpl.files:
        sk = unix_get_socket(file)
        if sk is None:
            continue
        edge = UnixEdge(sk, receiver)
        fpl.edges.append(edge)
        if not sk.out_edges:
            state.vertices.append(sk)
        sk.out_edges.append(edge)
        state.unix_tot_inflight += 1
    if fpl.edges and fpl.edges[0].holder().out_edges:
        state.maybe_cyclic = True


def unix_del_edges(state: UnixState, fpl: ScmFpList) -> None:
    """Count descriptors as landed: received, or thrown away."""
    if not fpl.inflight:
        return
    fpl.inflight = False
    state.user_inflight[fpl.uid] -= len(fpl.files)
    for edge in fpl.edges:
        sk = edge.predecessor
        _remove_edge(sk, edge)
        if not sk.out_edges:
            _remove_vertex(state, sk)
        state.unix_tot_inflight -= 1
    fpl.edges = []


def _remove_edge(sk: UnixSock, edge: UnixEdge) -> None:
    for i in range(len(sk.out_edges)):
        if sk.out_edges[i] is edge:
            del sk.out_edges[i]
            return


def _remove_vertex(state: UnixState, sk: UnixSock) -> None:
    for i in range(len(state.vertices)):
        if state.vertices[i] is sk:
            del state.vertices[i]
            return


def unix_schedule_gc(state: UnixState) -> None:
    """Collect, if descriptors in flight may have formed a cycle."""
    if state.maybe_cyclic and not state.gc_in_progress:
        unix_gc(state)


def unix_gc(state: UnixState) -> None:
    """Throw away the messages of sockets that nobody can reach, until none is left."""
    state.gc_in_progress = True
    while True:
        dead = _find_dead(state)
        if not dead:
            break
        hitlist: list[UnixSkb] = []
        for sk in dead:
            _unix_collect_queue(sk, hitlist)
        files: list[File] = []
        for skb in hitlist:
            fpl = skb.fp
            if fpl is not None:
                skb.fp = None
                unix_del_edges(state, fpl)
                files += fpl.files
        state.delayed_fput(files)
        if delayed_fput_busy(state):
            break  # the close under way goes on to put them; the next one collects again
    state.gc_in_progress = False
    state.maybe_cyclic = _has_edge_between_vertices(state)


def _find_dead(state: UnixState) -> list[UnixSock]:
    """Return the sockets in flight that no open file leads to."""
    live: list[UnixSock] = []
    for sk in state.vertices:
        sock = sk.sk_socket
        file = None if sock is None else sock.file
        sk.gc_live = file is None or file.f_count > len(sk.out_edges)
        if not sk.gc_live:
            for edge in sk.out_edges:
                if not edge.holder().out_edges:
                    sk.gc_live = True  # waits at a socket that is not in flight
                    break
        if sk.gc_live:
            live.append(sk)
    while live:
        holder = live.pop()
        for sk in _senders_to(holder):
            if not sk.gc_live:
                sk.gc_live = True
                live.append(sk)
    return [sk for sk in state.vertices if not sk.gc_live]


def _senders_to(holder: UnixSock) -> list[UnixSock]:
    """Return the sockets whose descriptors wait at a socket, or at a connection in its queue."""
    found: list[UnixSock] = []
    for skb in holder.receive_queue:
        if skb.newsk is None:
            _add_predecessors(skb, found)
        else:
            for inner in skb.newsk.receive_queue:
                _add_predecessors(inner, found)
    return found


def _add_predecessors(skb: UnixSkb, found: list[UnixSock]) -> None:
    if skb.fp is not None:
        for edge in skb.fp.edges:
            found.append(edge.predecessor)


def _unix_collect_queue(sk: UnixSock, hitlist: list[UnixSkb]) -> None:
    """Gather the messages of a socket, or of the connections that wait in a listener's queue."""
    for skb in sk.receive_queue:
        if sk.sk_state == TCP_LISTEN and skb.newsk is not None:
            hitlist += skb.newsk.receive_queue
        else:
            hitlist.append(skb)


def _has_edge_between_vertices(state: UnixState) -> bool:
    for sk in state.vertices:
        for edge in sk.out_edges:
            if edge.holder().out_edges:
                return True
    return False

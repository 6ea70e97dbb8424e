"""Names of UNIX sockets: bind, autobind, paths and abstract names, on the live kernel and on the twin."""

import pytest

from tests.parity.unix_system import DGRAM, NOBODY, SEQPACKET, STREAM, System, same, un

pytestmark = pytest.mark.root


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
@pytest.mark.parametrize(
    "addr",
    [
        b"",
        b"\1",
        b"\1\0",
        b"\1\0x",
        b"\1\0\0",
        b"\1\0\0name",
        b"\1\0\0name\0\0",
        b"\1\0./s\0after",
        b"\1\0" + b"p" * 108,
        b"\1\0" + b"p" * 109,
        b"\1\0\0" + b"p" * 107,
        b"\1\0\0" + b"p" * 108,
        b"\2\0./s",
        b"\0\0./s",
        b"\1\0missing/s",
        b"\1\0" + b"x" * 126,
        b"\1\0" + b"x" * 127,
        b"\1\0/",
        b"\1\0.",
        b"\1\0s/",
        b"\1\0./a/../s",
        b"\1\0" + b"./" * 53 + b"s",
    ],
    ids=repr,
)
def test_bind_checks_length_family_and_path_in_this_order(type_: int, addr: bytes) -> None:
    def program(k: System) -> object:
        fd = k.socket(type_)
        ret = k.bind(fd, addr)
        name = k.getsockname(fd)
        if addr == b"\1\0":
            return [ret, len(name), name[:3], all(c in b"0123456789abcdef" for c in name[3:]), k.bind(fd, addr), k.getsockname(fd) == name]
        return [ret, name, k.bind(fd, un("\0other")), k.bind(fd, b"\1\0"), k.poll(fd)]

    same(program)


def test_socket_path_mode_is_0777_without_umask_and_fchmod_before_bind_counts() -> None:
    def program(k: System) -> object:
        out = []
        for mask, mode in ((0o022, None), (0, None), (0o777, None), (0o027, 0o640), (0, 0o4755)):
            k.umask(mask)
            fd = k.socket(STREAM)
            if mode is not None:
                out.append(k.fchmod(fd, mode))
            out += [k.bind(fd, un("s")), k.stat("s"), k.unlink("s")]
        return out

    same(program)


def test_existing_names_of_any_kind_are_in_use() -> None:
    def program(k: System) -> object:
        k.touch("file")
        k.mkdir("dir")
        k.symlink("nowhere", "dangling")
        k.symlink("file", "link")
        stale = k.bound(STREAM, "stale")
        k.close(stale)
        fds = [k.socket(t) for t in (STREAM, DGRAM)]
        out = [[k.bind(fd, un(name)) for fd in fds] for name in ("file", "dir", "dangling", "link", "stale", "dir/", "file/", "stale/x")]
        return [out, k.stat("stale")]

    same(program)


def test_bind_needs_write_and_search_permission_on_the_directory() -> None:
    def program(k: System) -> object:
        out = []
        for mode in (0o755, 0o777, 0o776, 0o773, 0o775, 0o700):
            k.mkdir("d")
            k.chmod("d", mode)
            k.seteuid(NOBODY)
            fd = k.socket(DGRAM)
            out += [mode, k.bind(fd, un("d/s")), k.connect(fd, un("d/t"))]
            k.close(fd)
            k.seteuid(0)
            out.append(k.unlink("d/s"))
            out.append(k.rmdir("d"))
        return out

    same(program)


def test_a_bound_socket_with_a_name_refuses_a_second_one_and_leaves_no_file() -> None:
    def program(k: System) -> object:
        fd = k.bound(STREAM, "one")
        return [
            k.bind(fd, un("two")),
            k.stat("two"),
            k.bind(fd, un("one")),
            k.bind(fd, un("\0abs")),
            k.bind(fd, b"\1\0"),
            k.getsockname(fd),
        ]

    same(program)


def test_abstract_names_count_every_byte_and_the_type() -> None:
    def program(k: System) -> object:
        out = []
        for name in ("\0a", "\0a\0", "\0a\0\0", "\0", "\0\0", "\0A"):
            for type_ in (STREAM, DGRAM, SEQPACKET):
                fd = k.socket(type_)
                out += [k.bind(fd, un(name)), k.getsockname(fd)]
                out.append(k.bind(k.socket(type_), un(name)))
        return out

    same(program)


def test_abstract_name_is_free_again_after_the_last_close() -> None:
    def program(k: System) -> object:
        fd = k.bound(STREAM, "\0n")
        other = k.dup(fd)
        out = [k.close(fd), k.bind(k.socket(STREAM), un("\0n"))]
        return [*out, k.close(other), k.bind(k.socket(STREAM), un("\0n"))]

    same(program)


def test_listener_name_stays_taken_while_its_accepted_socket_lives_only_as_name() -> None:
    def program(k: System) -> object:
        listener = k.listener(STREAM, "\0n")
        client = k.client(STREAM, "\0n")
        accepted = k.accept(listener)
        names = [k.getsockname(accepted), k.getpeername(accepted), k.getsockname(client), k.getpeername(client)]
        k.close(listener)
        again = k.socket(STREAM)
        return [names, k.bind(again, un("\0n")), k.connect(k.socket(STREAM), un("\0n")), k.getpeername(client)]

    same(program)


def test_path_stays_after_close_and_refuses_connections() -> None:
    def program(k: System) -> object:
        fd = k.listener(STREAM, "s")
        k.close(fd)
        return [
            k.stat("s"),
            k.connect(k.socket(STREAM), un("s")),
            k.connect(k.socket(DGRAM), un("s")),
            k.unlink("s"),
            k.connect(k.socket(STREAM), un("s")),
        ]

    same(program)


def test_unlink_and_bind_again_makes_a_second_listener_while_the_first_goes_on() -> None:
    def program(k: System) -> object:
        first = k.listener(STREAM, "s")
        old = k.client(STREAM, "s")
        k.unlink("s")
        second = k.listener(STREAM, "s")
        new = k.client(STREAM, "s")
        a, b = k.accept(first), k.accept(second)
        k.send(old, b"old")
        k.send(new, b"new")
        return [k.recv(a, 9), k.recv(b, 9), k.getsockname(first), k.getsockname(second), k.getpeername(old)]

    same(program)


def test_rename_moves_the_socket_and_keeps_the_old_name_in_getsockname() -> None:
    def program(k: System) -> object:
        fd = k.listener(STREAM, "s")
        out = [k.rename("s", "t"), k.connect(k.socket(STREAM), un("s"))]
        client = k.client(STREAM, "t")
        return [*out, k.getpeername(client), k.getsockname(fd), k.bind(k.socket(STREAM), un("s"))]

    same(program)


def test_hard_link_and_symbolic_link_lead_to_the_socket() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "s")
        out = [k.link("s", "hard"), k.symlink("s", "soft"), k.symlink("loop", "loop"), k.symlink("soft", "soft2")]
        for name in ("hard", "soft", "soft2", "loop", "loop/x", "soft/x", "./s", ".//s"):
            fd = k.socket(STREAM)
            out += [k.connect(fd, un(name)), k.getpeername(fd)]
        k.unlink("s")
        return [*out, k.connect(k.socket(STREAM), un("hard")), k.connect(k.socket(STREAM), un("soft"))]

    same(program)


def test_rename_over_a_listening_path_hides_the_old_listener() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "a")
        b = k.listener(STREAM, "b")
        out = [k.rename("b", "a")]
        k.client(STREAM, "a")
        return [*out, k.poll(b), k.stat("b"), k.rename("a", "missing/a"), k.rename("nothing", "x")]

    same(program)


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o722, 0o702, 0o720, 0o000, 0o002])
def test_connect_and_sendto_need_write_permission_on_the_socket_file(mode: int) -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "s")
        k.bound(DGRAM, "d")
        k.chmod("s", mode)
        k.chmod("d", mode)
        out = [k.connect(k.socket(STREAM), un("s"))]
        k.seteuid(NOBODY)
        fd = k.socket(DGRAM)
        return [*out, k.connect(k.socket(STREAM), un("s")), k.connect(fd, un("d")), k.sendto(fd, b"x", un("d"))]

    same(program)


def test_owner_and_group_of_the_socket_file_decide() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "s", 20)
        out = []
        for mode, uid, gid in ((0o200, NOBODY, 0), (0o020, 0, NOBODY), (0o002, NOBODY, 0), (0o002, 0, NOBODY), (0o002, 1, 1)):
            k.chmod("s", mode)
            k.chown("s", uid, gid)
            k.seteuid(NOBODY)
            out.append(k.connect(k.socket(STREAM), un("s")))
            k.seteuid(0)
        return out

    same(program)


def test_search_permission_on_every_directory_is_needed() -> None:
    def program(k: System) -> object:
        k.mkdir("a")
        k.mkdir("a/b")
        k.listener(STREAM, "a/b/s", 20)
        k.chmod("a/b/s", 0o777)
        out = []
        for mode in (0o755, 0o744, 0o711, 0o700):
            k.chmod("a", mode)
            k.seteuid(NOBODY)
            out += [
                k.connect(k.socket(STREAM), un("a/b/s")),
                k.connect(k.socket(STREAM), un("a/none")),
                k.connect(k.socket(STREAM), un("a/b/s/x")),
            ]
            k.seteuid(0)
        return out

    same(program)


def test_sticky_directory_protects_a_stranger_s_socket() -> None:
    def program(k: System) -> object:
        k.mkdir("d")
        k.chmod("d", 0o1777)
        k.bound(STREAM, "d/root")
        k.seteuid(NOBODY)
        k.bound(STREAM, "d/mine")
        out = [k.unlink("d/root"), k.rename("d/root", "d/x"), k.rename("d/mine", "d/root"), k.stat("d/mine")]
        return [*out, k.chmod("d/root", 0o777), k.chown("d/mine", 0, -1), k.unlink("d/mine"), k.unlink("d/none"), k.unlink("d")]

    same(program)


def test_autobind_happens_at_connect_and_sendto_with_passcred_not_before() -> None:
    def program(k: System) -> object:
        k.listener(STREAM, "\0l")
        receiver = k.bound(DGRAM, "\0d")
        out = []
        for option in (16, 76):
            stream, connected, sender = k.socket(STREAM), k.socket(DGRAM), k.socket(DGRAM)
            for fd in (stream, connected, sender):
                out.append(k.setint(fd, option, 1))
                out.append(k.getsockname(fd))
            k.connect(stream, un("\0l"))
            k.connect(connected, un("\0d"))
            k.sendto(sender, b"x", un("\0d"))
            out.append([len(k.getsockname(fd)) for fd in (stream, connected, sender)])
            got = k.recvfrom(receiver, 9)
            out.append(got[2] == k.getsockname(sender))
        return out

    same(program)


def test_failed_connect_with_passcred_has_bound_the_socket_already() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM):
            fd = k.socket(type_)
            k.setint(fd, 16, 1)
            out += [k.connect(fd, b"\1\0"), len(k.getsockname(fd)), k.connect(fd, un("\0none")), len(k.getsockname(fd))]
        return out

    same(program)


def test_a_path_longer_than_its_parts_may_be_is_refused() -> None:
    def program(k: System) -> object:
        fd = k.socket(STREAM)
        return [k.mkdir("d" * 255), k.mkdir("d" * 256), k.bind(fd, un("d/" * 50)), k.connect(fd, b"\1\0" + b"e" * 108)]

    same(program)


def test_unbound_names_and_unconnected_peers_are_told_apart() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            fd = k.socket(type_)
            a, b = k.socketpair(type_)
            out += [k.getsockname(fd), k.getpeername(fd), k.getsockname(a), k.getpeername(a)]
            k.close(b)
            out.append(k.getpeername(a))
        return out

    same(program)


def test_abstract_names_belong_to_a_namespace_and_paths_to_the_file_system() -> None:
    def program(k: System) -> object:
        path, abstract = k.listener(STREAM, "s"), k.listener(STREAM, "\0n")
        datagrams = k.bound(DGRAM, "d")
        k.max_dgram_qlen(3)
        k.unshare()
        client = k.socket(STREAM)
        out = [k.connect(client, un("s")), k.connect(k.socket(STREAM), un("\0n")), k.connect(k.socket(DGRAM), un("\0n"))]
        accepted = k.accept(path)
        out += [k.send(client, b"across"), k.recv(accepted, 9), k.getpeername(client), k.peercred(client)]
        out += [k.sendto(k.socket(DGRAM), b"x", un("d")), k.recvfrom(datagrams, 9), k.bind(k.socket(STREAM), un("\0n"))]
        out += [k.bind(k.socket(STREAM), un("s")), k.poll(abstract), k.getint(client, 57), k.getint(accepted, 57)]
        rows = k.proc_net_unix().split("\n")[1:-1]
        receiver, sender = k.bound(DGRAM, "\0r"), k.client(DGRAM, "\0r")
        sent = [k.send(sender, b"x", 0x40) for _ in range(13)]
        return [
            *out[:-2],
            len(rows),
            sorted(row.split(" ", 1)[1].split()[-1] for row in rows if "@" in row or row.endswith(" s")),
            sent,
            k.poll(receiver),
        ]

    same(program)

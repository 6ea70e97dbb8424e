"""From a cgroup path to the systemd unit or the container it stands for.

Service managers and container engines name their cgroups after what runs inside; nothing else ties a process to its
unit without asking the manager. Paths of cgroup v2 ("0::/system.slice/nginx.service"), of the named v1 hierarchy
("1:name=systemd:/...") and of v1 controllers are understood; the first that says something wins.
"""

_ENGINE_OF_PREFIX = {
    "docker": "docker",
    "libpod": "podman",
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "nerdctl": "containerd",
}
_ENGINE_OF_FOLDER = {
    "docker": "docker",
    "actions_job": "docker",
    "buildkit": "buildkit",
    "ecs": "ecs",
    "libpod_parent": "podman",
    "default": "containerd",
    "moby": "docker",
}
_ID_LENGTH = 64
_HEX = frozenset("0123456789abcdef")


class CgroupName:
    """What a cgroup path says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.unit = ""
        self.user_unit_uid = -1
        self.container = ""
        self.engine = ""
        self.pod = ""

    def says_something(self) -> bool:
        """Tell whether a unit or a container was recognised."""
        return bool(self.unit or self.container)


def name_of_cgroup(path: str) -> CgroupName:
    """Read the unit, container, pod and user out of one cgroup path."""
    name = CgroupName(path)
    folder = ""
    for part in path.split("/"):
        if part:
            _read_part(name, folder, part)
            folder = part
    return name


def name_of_process(cgroup_file: str) -> CgroupName:
    """Read /proc/PID/cgroup: the v2 line first, then the named hierarchy, then the v1 controllers."""
    ranked: list[tuple[int, str]] = []
    for line in cgroup_file.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path:
            rank = 0 if number == "0" and not controllers else 1 if controllers == "name=systemd" else 2
            ranked.append((rank, path))
    ranked.sort(key=lambda pair: pair[0])
    for _rank, path in ranked:
        name = name_of_cgroup(path)
        if name.says_something():
            return name
    return CgroupName(ranked[0][1] if ranked else "")


def _read_part(name: CgroupName, folder: str, part: str) -> None:
    """Take one path component into account; deeper components refine what outer ones said."""
    stem, dot, kind = part.rpartition(".")
    if part.startswith(("lxc.payload.", "lxc.monitor.")):
        _set_container(name, "lxc", part[12:])
    elif folder in ("lxc", "lxc.payload") and not part.startswith("."):
        _set_container(name, "lxc", part)
    elif part.startswith("kubepods"):
        _read_kubepods(name, part)
    elif part.startswith("pod") and folder.startswith(("kubepods", "burstable", "besteffort", "guaranteed")):
        name.pod = part[3:]
    elif dot and kind == "scope" and stem.startswith("machine-"):
        _set_container(name, "nspawn", _unescape(stem[8:]))
    elif dot and kind == "scope" and _is_id(stem.rpartition("-")[2]):
        prefix, _, ident = stem.rpartition("-")
        _set_container(name, _ENGINE_OF_PREFIX.get(prefix, prefix), ident)
    elif _is_id(part) or _is_id(part.rpartition("-")[2]):
        prefix = part[:-_ID_LENGTH].rstrip("-")
        engine = _ENGINE_OF_PREFIX.get(prefix) or _ENGINE_OF_FOLDER.get(folder) or name.engine or "container"
        _set_container(name, engine, part[-_ID_LENGTH:])
    elif dot and kind in ("service", "scope", "socket", "mount", "swap"):
        _read_unit(name, stem, part)


def _read_kubepods(name: CgroupName, part: str) -> None:
    """Read `kubepods[-class][-podUID].slice[:runtime:id]`."""
    name.engine = "kubernetes"
    piece, _, rest = part.partition(":")
    pod = piece.removesuffix(".slice").partition("-pod")[2]
    if pod:
        name.pod = pod.replace("_", "-")
    runtime, _, ident = rest.partition(":")
    if _is_id(ident):
        _set_container(name, _ENGINE_OF_PREFIX.get(runtime, runtime), ident)


def _read_unit(name: CgroupName, stem: str, part: str) -> None:
    if stem.startswith("user@") and part.endswith(".service"):
        number = stem[5:]
        name.user_unit_uid = int(number) if number.isdecimal() else -1
    if not name.container:
        name.unit = part


def _set_container(name: CgroupName, engine: str, ident: str) -> None:
    name.engine = engine
    name.container = ident
    name.unit = ""


def _is_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and _HEX.issuperset(text)


def _unescape(text: str) -> str:
    """Undo systemd's \\x2d escaping in a machine's name."""
    head, *tail = text.split("\\x")
    out = head
    for piece in tail:
        digits = piece[:2]
        if len(digits) == 2 and _HEX.issuperset(digits):
            out += chr(int(digits, 16)) + piece[2:]
        else:
            out += "\\x" + piece
    return out

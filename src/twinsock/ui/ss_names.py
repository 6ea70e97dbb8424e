"""Names behind numbers: protocols by /etc/protocols, cgroups by the inode of their folder."""

from __future__ import annotations

_known: dict[int, str] = {}
_cgroups: dict[int, str] = {}


def protocol_name(number: int) -> str:
    """Name an IP protocol by /etc/protocols, else `ipproto-N`."""
    if not _known:
        try:
            with open("/etc/protocols") as file:
                for line in file:
                    words = line.partition("#")[0].split()
                    if len(words) > 1 and words[1].isdecimal():
                        _known.setdefault(int(words[1]), words[0])
        except OSError:
            pass
        _known.setdefault(-1, "")
    return _known.get(number) or f"ipproto-{number}"


def cgroup_path(number: int) -> str:
    """Give the path of a cgroup below the mount of cgroup2, or `unreachable:NUMBER`."""
    if not _cgroups:
        import os

        mount = _cgroup_mount()
        for folder, _folders, _files in os.walk(mount) if mount else ():
            try:
                _cgroups[os.stat(folder).st_ino] = folder[len(mount) :] or "/"
            except OSError:
                continue
        _cgroups.setdefault(-1, "")
    return _cgroups.get(number) or f"unreachable:{number:x}"


def cgroup_number(path: str) -> int:
    """Give the number of a cgroup, by its path in the file system or below the mount of cgroup2. Raises UsageError."""
    import os

    from twinsock.ui.args import UsageError, printable

    mount = _cgroup_mount()
    for folder in (path, f"{mount}/{path}" if mount else path):
        try:
            if not mount or os.stat(folder).st_dev == os.stat(mount).st_dev:
                return os.stat(folder).st_ino
        except (OSError, ValueError):
            continue
    raise UsageError(f"there is no cgroup {printable(path)}" + ("" if mount else ": cgroup2 is not mounted"))


def _cgroup_mount() -> str:
    """Find where cgroup2 is mounted, empty if it is not."""
    try:
        with open("/proc/mounts") as file:
            for line in file:
                words = line.split()
                if len(words) > 2 and words[2] == "cgroup2":
                    return words[1]
    except OSError:
        pass
    return ""

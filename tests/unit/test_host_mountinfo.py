"""Names of network namespaces in /proc/PID/mountinfo."""

from twinsock.host.namespaces import nsfs_mounts, unescape

MOUNTINFO = b"""22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:4 net:[4026532177] /run/netns/blue rw shared:5 - nsfs nsfs rw
41 22 0:4 net:[4026532247] /run/my\\040ns/x rw - nsfs nsfs rw
42 22 0:4 mnt:[4026532300] /run/mnt rw - nsfs nsfs rw
43 22 0:4 net:[x] /broken rw - nsfs nsfs rw
"""


def test_only_network_namespaces_are_named():
    assert nsfs_mounts(MOUNTINFO) == [(4026532177, "/run/netns/blue"), (4026532247, "/run/my ns/x")]


def test_octal_escapes_are_undone():
    assert unescape(rb"a\040b\134c\x") == "a b\\c\\x"

"""The bind tables against a naive model: a plain list of owners, asked one by one with the rule as a table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.bind_oracle import ADDRESSES, DEVICES, OTHER_DEVICE, Address, Config, TwinHost
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock
from twinsock.kernel.net.ipv4.inet_hashtables import tcp_hashinfo
from twinsock.uapi.errno import EADDRINUSE, EADDRNOTAVAIL, EINVAL

pytestmark = pytest.mark.slow

PORTS = (8080, 8081)
HAS_V4 = {"0.0.0.0": "any", "127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.2", "::ffff:0.0.0.0": "any", "::ffff:127.0.0.1": "127.0.0.1"}
HAS_V6 = {"::": "any", "::1": "::1"}


class ModelSocket:
    """What the rule needs to know of a socket."""

    def __init__(self, config: Config) -> None:
        self.reuse, self.reuseport, self.device, self.uid = config.reuse, config.reuseport, config.device, config.uid
        self.v6only = config.address.v6only
        self.text = ""
        self.port = 0
        self.listening = False

    def parts(self) -> tuple[str, str]:
        """Return the IPv4 part and the IPv6 part, "" for none."""
        v4 = HAS_V4.get(self.text, "any" if self.text == "::" and not self.v6only else "")
        return v4, HAS_V6.get(self.text, "")


def overlap(one: str, two: str) -> bool:
    """Tell whether two parts can mean the same packet."""
    return bool(one and two) and (one == two or "any" in (one, two))


def conflicts(new: ModelSocket, old: ModelSocket) -> bool:
    """Sheet: devices overlap, addresses overlap, no excuse."""
    if new.device and old.device and new.device != old.device:
        return False
    if not any(overlap(a, b) for a, b in zip(new.parts(), old.parts(), strict=True)):
        return False
    if new.reuse and old.reuse and not old.listening:
        return False
    return not (new.reuseport and old.reuseport and new.uid == old.uid)


def may_be_remembered(new: ModelSocket, owners: list[ModelSocket]) -> bool:
    """Tell whether a bucket may let `new` pass for a SO_REUSEPORT mate that it remembers, without a look at the other owners.

    Measured on 6.18: owners with SO_REUSEADDR alone, then with both flags, let one with SO_REUSEPORT alone in."""
    return bool(new.reuseport) and any(old.reuseport and old.uid == new.uid for old in owners)


class BindTables(RuleBasedStateMachine):
    """Sockets without toggled flags: what buckets remember may only let a SO_REUSEPORT mate in, never keep anybody out."""

    @initialize()
    def start(self) -> None:
        self.host = TwinHost()
        self.pairs: list[tuple[Socket, ModelSocket]] = []

    @rule(
        address=st.sampled_from(ADDRESSES),
        reuse=st.integers(0, 1),
        reuseport=st.integers(0, 1),
        device=st.sampled_from(DEVICES),
        uid=st.sampled_from((0, 1000)),
        port=st.sampled_from(PORTS),
    )
    def bind_a_new_socket(self, address: Address, reuse: int, reuseport: int, device: str, uid: int, port: int) -> None:
        config = Config(address, reuse, reuseport, device, uid)
        sock, model = self.host.create(config), ModelSocket(config)
        model.text = address.text
        owners = [o for _, o in self.pairs if o.port == port]
        expected = EADDRINUSE if any(conflicts(model, o) for o in owners) else 0
        if address.text == "::1" and device == OTHER_DEVICE:
            expected = EADDRNOTAVAIL
        answer = self.host.bind(sock, address, port)
        assert answer == expected or (answer == 0 and expected == EADDRINUSE and may_be_remembered(model, owners))
        if answer == 0:
            model.port = port
            if address.text == "::1":
                model.v6only = 1
            self.pairs.append((sock, model))

    @precondition(lambda self: self.pairs)
    @rule(which=st.integers(0, 1000))
    def listen(self, which: int) -> None:
        sock, model = self.pairs[which % len(self.pairs)]
        others = [o for _, o in self.pairs if o is not model and o.port == model.port]
        refused = not model.listening and any(conflicts(model, o) for o in others)
        answer = self.host.listen(sock)
        assert answer == (EADDRINUSE if refused else 0) or (answer == 0 and may_be_remembered(model, others))
        model.listening = model.listening or answer == 0

    @precondition(lambda self: self.pairs)
    @rule(which=st.integers(0, 1000))
    def bind_again(self, which: int) -> None:
        sock, _ = self.pairs[which % len(self.pairs)]
        family = "v6" if isinstance(sock.sk, InetConnectionSock) and sock.sk.pinet6 is not None else "v4"
        assert self.host.bind(sock, ADDRESSES[3 if family == "v6" else 0], 9999) == EINVAL

    @precondition(lambda self: self.pairs)
    @rule(which=st.integers(0, 1000))
    def close(self, which: int) -> None:
        sock, _ = self.pairs.pop(which % len(self.pairs))
        self.host.close(sock)

    @invariant()
    def the_buckets_hold_the_owners_and_nothing_else(self) -> None:
        hinfo = tcp_hashinfo(self.host.net)
        owners: list[SockCommon] = []
        for chain in hinfo.bhash:
            for tb in chain:
                mine: list[SockCommon] = []
                for tb2 in tb.bhash2:
                    assert tb2.owners is not None
                    sk: SockCommon | None = tb2.owners
                    while sk is not None:
                        assert sk.icsk_bind_hash is tb and sk.icsk_bind2_hash is tb2 and sk.sk_num == tb.port
                        mine.append(sk)
                        sk = sk.sk_bind_next
                assert len(mine) == tb.nr_owners == tb.nr_bound > 0
                owners += mine
        assert sorted(map(id, owners)) == sorted(id(sock.sk) for sock, _ in self.pairs)
        assert hinfo.nr_listeners == sum(model.listening for _, model in self.pairs)


TestBindTables = BindTables.TestCase
TestBindTables.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True)


@given(st.lists(st.integers(32768, 60999), max_size=40), st.integers(0, 1000))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_an_automatic_port_is_never_one_that_is_owned(taken: list[int], seed: int) -> None:
    host = TwinHost(seed)
    host.configure(32768, 32768 + 30, [], 0)
    plain = Config(ADDRESSES[0], 0, 0, "")
    owned = set()
    for port in taken:
        low = 32768 + port % 40
        if host.bind(host.create(plain), ADDRESSES[0], low) == 0:
            owned.add(low)
    sock = host.create(plain)
    if host.bind(sock, ADDRESSES[0], 0) == 0:
        assert host.port_of(sock) not in owned
        assert 32768 <= host.port_of(sock) <= 32768 + 30

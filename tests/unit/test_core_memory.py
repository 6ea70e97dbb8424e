"""Who pays for which packet, and which pages show in sockstat."""

import errno

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.skbuff import SkBuff, SockExtendedErr, kfree_skb
from twinsock.kernel.net.core.sock import Proto, Sock, proto_register, sk_alloc, sk_clone, sk_free, sock_init_data, sock_put
from twinsock.kernel.net.core.sock_mem import (
    sk_memory_allocated_add,
    sk_rmem_schedule,
    skb_set_owner_r,
    skb_set_owner_w,
    sock_alloc_send_pskb,
    sock_dequeue_err_skb,
    sock_kfree_s,
    sock_kmalloc,
    sock_queue_err_skb,
)


def make_sock(mem: list[int] | None = None) -> Sock:
    kernel = start_kernel()
    prot = Proto("TEST", 100)
    prot.sysctl_mem = mem
    proto_register(kernel, prot)
    sk = sk_alloc(Sock(kernel.init_net, 9, prot, 2, 0), 0)
    sock_init_data(Socket(2), sk)
    return sk


def packet(truesize: int) -> SkBuff:
    skb = SkBuff(b"x")
    skb.truesize = truesize
    return skb


def test_small_use_stays_in_the_reserve_of_the_processor() -> None:
    sk = make_sock([1000, 2000, 3000])
    sk_memory_allocated_add(sk, 255)
    assert sk.sk_prot.counters.memory_allocated == 0
    sk_memory_allocated_add(sk, 1)
    assert sk.sk_prot.counters.memory_allocated == 256
    assert sk.sk_prot.counters.per_cpu_fw_alloc[0] == 0


def test_received_bytes_are_reserved_in_pages_and_given_back() -> None:
    sk = make_sock([10000, 20000, 30000])
    assert sk_rmem_schedule(sk, 5000)
    skb = packet(5000)
    skb_set_owner_r(skb, sk)
    assert (sk.sk_rmem_alloc, sk.sk_forward_alloc, sk.sk_prot.counters.per_cpu_fw_alloc[0]) == (5000, 3192, 2)
    kfree_skb(skb)
    assert (sk.sk_rmem_alloc, sk.sk_forward_alloc, sk.sk_prot.counters.per_cpu_fw_alloc[0]) == (0, 0, 0)


def test_memory_above_the_maximum_is_refused() -> None:
    sk = make_sock([1, 2, 300])
    sk.sk_net.kernel.sysctl_mem_pcpu_rsv = 1
    assert sk_rmem_schedule(sk, 200 * 4096)
    assert sk.sk_prot.counters.memory_pressure == 1
    assert not sk_rmem_schedule(sk, 400 * 4096)
    assert sk.sk_prot.counters.memory_allocated == 200


def test_a_socket_is_freed_after_the_last_packet_charged_to_it() -> None:
    sk = make_sock()
    skb = packet(700)
    skb_set_owner_w(skb, sk)
    sk.sk_socket = None
    sock_put(sk)
    assert sk.sk_net.sockets_used == 1
    kfree_skb(skb)
    assert sk.sk_net.sockets_used == 0


def test_a_full_send_buffer_says_eagain_and_a_shut_one_epipe() -> None:
    sk = make_sock()
    task = sk.sk_net.kernel.new_task()
    skb_set_owner_w(packet(sk.sk_sndbuf), sk)
    assert sock_alloc_send_pskb(task, sk, True) == -errno.EAGAIN
    sk.sk_sndtimeo_ns = 20_000_000
    assert sock_alloc_send_pskb(task, sk, False) == -errno.EAGAIN
    assert sk.sk_net.kernel.clock.now_ns == 20_000_000
    sk.sk_shutdown = 2
    assert sock_alloc_send_pskb(task, sk, True) == -errno.EPIPE


def test_option_memory_ends_below_optmem_max() -> None:
    sk = make_sock()
    sk.sk_net.core.sysctl_optmem_max = 1000
    assert sock_kmalloc(sk, 600) == 0
    assert sock_kmalloc(sk, 400) == -errno.ENOMEM
    assert sock_kmalloc(sk, 399) == 0
    sock_kfree_s(sk, 999)
    assert sk.sk_omem_alloc == 0


def test_reading_an_error_queue_leaves_the_next_errno_pending() -> None:
    sk = make_sock()
    for number in (111, 113):
        skb = packet(100)
        skb.ee = SockExtendedErr(number, 2, 3, 3, 0, 0)
        assert sock_queue_err_skb(sk, skb) == 0
    assert sk.sk_rmem_alloc == 200
    first = sock_dequeue_err_skb(sk)
    assert first is not None and first.ee is not None
    assert (first.ee.ee_errno, sk.sk_err) == (111, 113)
    assert sock_dequeue_err_skb(sk) is not None
    assert sk.sk_err == 0
    assert sock_dequeue_err_skb(sk) is None


def test_a_clone_counts_and_inherits() -> None:
    sk = make_sock()
    sk.sk_rcvbuf, sk.sk_mark, sk.sk_priority = 12345, 7, 3
    child = Sock(sk.sk_net, 9, sk.sk_prot, 2, 0)
    sk_clone(sk, child)
    assert (child.sk_rcvbuf, child.sk_mark, child.sk_priority) == (12345, 7, 0)
    assert sk.sk_net.sockets_used == 2
    sk_free(child)
    assert sk.sk_net.sockets_used == 1


def test_pressure_ends_below_the_minimum_and_grants_fair_shares_meanwhile() -> None:
    sk = make_sock([100, 150, 1000])
    sk.sk_net.kernel.sysctl_mem_pcpu_rsv = 1
    counters = sk.sk_prot.counters
    skb = packet(200 * 4096)
    assert sk_rmem_schedule(sk, skb.truesize)
    skb_set_owner_r(skb, sk)
    assert counters.memory_pressure == 1
    assert sk_rmem_schedule(sk, 100 * 4096)  # held 200 of 1000 pages, the only socket: below its share
    counters.sockets_allocated = 4
    assert not sk_rmem_schedule(sk, 200 * 4096)
    kfree_skb(skb)
    assert (counters.memory_allocated, counters.memory_pressure) == (0, 0)

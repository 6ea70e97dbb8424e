"""Which test has a case for which measured row of the fact sheets: SHEET-SECTION-ROW, rows counted from 1 in the order of the section's
tables; a statement beside the tables has a name. "02-2.6-1..12" stands for twelve rows, "02-2.4-1,3" for two.

A value of ROWS is FILE::TEST, or FILE::PROGRAM for one program among those that a test runs through; several are separated by blanks.
WITHOUT gives the rows that have no case, each with its reason. SECTIONS lists every row of a section, so that none is forgotten."""

from tests.parity import sheet_rows_tcp

_P, _U = "tests/parity/", "tests/unit/"
_CALLS = _P + "test_socket_calls.py::"
_TYPES = _CALLS + "test_types_and_protocols_are_accepted_alike"
_ORDER = _CALLS + "test_other_calls_check_in_the_same_order"
_FULL = _CALLS + "test_a_full_table_is_noticed_at_the_same_point"
_FILE = _CALLS + "test_the_file_behind_a_socket_looks_the_same"
_PAIRS = _CALLS + "test_socketpair_joins_or_refuses_alike"
_UCALLS = _U + "test_socket_calls.py::"
_STACKS = _P + "test_call_stacks.py::test_each_stack_that_the_kernel_recorded_is_a_path_of_the_twins_call_tree"
_PATHS = _U + "test_call_paths.py::test_the_function_graph_contains_the_path_of_each_tcp_call"
_UPATHS = _U + "test_call_paths.py::test_calls_go_through_the_functions_that_linux_goes_through"
_STAT = _P + "test_proc_inet.py::test_sockstat_changes_by_the_same_numbers"
_SCENE = _P + "prockit.py::"
_COUNT = _P + "test_udp_counting.py::"
_SYS = _P + "test_sysctls.py::"
_SOL = _P + "test_sol_socket.py::"
_TCP = _P + "test_tcp_programs.py::"
_UDP = _P + "test_udp_basic.py::"
_MSG = _P + "test_udp_messages.py::"
_US = _P + "test_unix_stream.py::"
_UD = _P + "test_unix_dgram.py::"
_POLL = _P + "test_polling.py::"
_FD = _P + "test_descriptors.py::"
_BIND = _P + "test_bind_rows.py::"
_ADDR = _P + "test_bind_addresses.py::"
_PAIR = _P + "test_bind_campaigns.py::test_five_thousand_pairs_of_owner_and_newcomer_end_as_on_linux"
_SEQ = _P + "test_bind_campaigns.py::test_random_sequences_over_several_sockets_end_as_on_linux"
_AUTO = _P + "test_bind_campaigns.py::test_automatic_ports_come_from_the_same_set_as_on_linux"
_CHECKS = _BIND + "test_checks_come_in_the_same_order_in_every_state"
_KINDS = _ADDR + "test_every_kind_of_address_ends_as_on_linux"
_DELIVERY = _P + "test_udp_delivery.py::"
_HOOKS = _U + "test_cgroup_hooks.py::"
_UN = _P + "test_unix_names.py::"
_SCM = _P + "test_unix_scm.py::"
_UT = _P + "test_unix_tables.py::"
_URND = _P + "test_unix_random.py::"
_UROW = _P + "test_unix_rows.py::"
_WIRE = _P + "test_wire_rows.py::"
_TWIRE = _P + "test_tcp_wire.py::"
_DIAG = _P + "test_diag_rows.py::"
_TELL = _P + "test_proc_inet.py::test_both_kernels_tell_the_same_of_a_scene"
_SS = _P + "test_proc_ss.py::test_ss_prints_the_files_of_both_kernels_alike"
_SSD = _P + "test_proc_ss.py::test_ss_prints_a_dump_of_both_kernels_alike"
_CREATE = _P + "test_create_rows.py::"
_STREAM = _P + "test_stream_rows.py::"
_PROW = _P + "test_poll_rows.py::"
_WSOCK = _P + "test_wire_sockets.py::"
_MEM = _U + "test_core_memory.py::"

ROWS: dict[str, str] = {
    # creating sockets
    "01-1.1-1,3,4,8": _TYPES,
    "01-1.1-2,7": _CALLS + "test_families_that_do_not_exist_fail_in_the_same_order",
    "01-1.1-5": _HOOKS + "test_every_security_hook_is_asked_and_can_refuse",
    "01-1.1-9": _HOOKS + "test_sock_create_is_refused_and_nothing_stays_counted",
    "01-1.1-10": _FULL,
    "01-1.1-released": _FULL + " " + _HOOKS + "test_sock_create_is_refused_and_nothing_stays_counted",
    "01-1.2-a,b,c,d,unix,netlink,packet,sock-packet": _TYPES,
    "01-1.2-e": _P + "test_raw_ping.py::test_ping_sockets_do_the_same_on_both_kernels",
    "01-1.2-protocols": _TYPES,
    "01-1.3-order,families": _PAIRS,
    "01-1.3-full": _FULL,
    "01-1.4-1": _FULL + " " + _ORDER,
    "01-1.4-2,3,copy-in": _ORDER,
    "01-1.4-full": _FULL,
    # the file behind one
    "01-1.5-1..5,7": _FILE,
    "01-1.5-6": _CREATE + "files_tell_their_protocol",
    "01-1.5-9,10": _TCP + "calls_without_a_connection",
    "01-1.5-inodes": _FILE,
    "01-1.5-queued": _SCENE + "queued",
    "01-1.5-limits": _P
    + "test_proc_files.py::test_values_are_read_and_written_at_offset_zero "
    + _FULL
    + " "
    + _UCALLS
    + "test_the_file_limit_of_the_host_binds_those_without_privilege",
    "01-1.6-1,3..5,9": _STACKS + " " + _PATHS,
    "01-1.6-2,7,8,13,14": _PATHS,
    "01-1.6-10..12": _UPATHS,
    # counting them
    "01-1.7-1": _STAT + " " + _CREATE + "every_family",
    "01-1.7-2,4": _STAT + " " + _WIRE + "counted_with_a_descriptor",
    "01-1.7-3": _STAT + " " + _WIRE + "counted_from_listen_to_time_wait",
    "01-1.7-5": _STAT + " " + _CREATE + "another_namespace",
    "01-1.7-6": _MEM + "test_small_use_stays_in_the_reserve_of_the_processor",
    "01-1.7-7,9": _COUNT + "test_sockstat_moves_the_same_for_each_call",
    "01-1.7-8": _CREATE + "pages_are_counted_late",
    "01-1.7-10": _COUNT + "test_sockstat_counts_raw_sockets_the_same",
    "01-1.7-11": _P + "test_ip_wire.py::test_packet_gets_the_reply_the_counters_and_the_drop_reason_of_linux",
    "01-1.7-12": _COUNT + "test_sockstat_moves_the_same_for_each_call " + _SCENE + "ipv6_connection",
    "01-1.7-granularity": _CREATE + "pages_are_counted_late",
    "01-1.8-1,2": _SCENE + "fresh_and_bound",
    "01-1.8-3": _SCENE + "listeners",
    "01-1.8-4": _CREATE + "listening_twice",
    "01-1.8-5..7": _WIRE + "counted_from_listen_to_time_wait",
    "01-1.8-8,9": _WIRE + "counted_listener_and_client",
    "01-1.8-10..12": _WIRE + "counted_from_listen_to_time_wait",
    "01-1.8-13": _WIRE + "mini_socket_ends",
    "01-1.8-14..17": _WIRE + "counted_with_a_descriptor",
    "01-1.8-18": _CREATE + "listening_twice " + _CREATE + "every_family",
    "01-1.8-19": _WIRE + "counted_listener_and_client",
    "01-1.8-20": _WIRE + "counted_from_listen_to_time_wait",
    "01-1.8-21..25": _COUNT + "test_sockstat_moves_the_same_for_each_call",
    "01-1.8-26": _COUNT + "test_sockstat_counts_raw_sockets_the_same",
    "01-1.8-27,28": _CREATE + "every_family",
    "01-1.8-29": _CREATE + "mapped_peers",
    "01-1.8-30": _CREATE + "mapped_peers " + _SCENE + "mapped_connection",
    "01-1.8-31": _CREATE + "mapped_peers " + _COUNT + "test_a_socket_that_changes_its_family_counts_for_the_other",
    "01-1.8-33": _P + "test_ip_wire.py::test_packet_gets_the_reply_the_counters_and_the_drop_reason_of_linux",
    "01-1.8-elsewhere": _CREATE + "another_namespace",
    "01-1.9-line,order": _P + "test_netlink_route.py::protocols_of_both",
    "01-1.10-1,2": _SYS + "test_global_entries_are_hidden_or_read_only_in_other_namespaces",
    "01-1.10-3": _SYS + "test_numbers_take_and_refuse_the_same_texts",
    "01-1.10-4": _SYS
    + "test_numbers_take_and_refuse_the_same_texts "
    + _U
    + "test_core_files.py::test_a_new_namespace_starts_with_defaults",
    "01-1.10-5": _CREATE + "a_new_namespace_inherits_nothing",
    "01-1.11-1": _SOL + "test_unknown_levels_answer_the_same",
    "01-1.11-2": _US + "test_other_option_levels_and_options_of_the_family",
    "01-1.11-3,4,6..10": _SOL + "test_every_option_takes_and_refuses_the_same_values",
    "01-1.11-3": _P + "test_tcp_options_sweep.py::test_every_option_number_of_tcp_answers_the_same",
    "01-1.11-5": _P + "test_ip_options_sweep.py::test_every_option_number_answers_the_same",
    "01-1.11-11": _SOL + "test_a_fresh_socket_reads_the_same_in_buffers_of_every_length",
    # bind
    "02-2.1-1": _CHECKS + " " + _ORDER,
    "02-2.1-2": _CHECKS + " " + _ORDER,
    "02-2.1-3": _HOOKS + "test_every_security_hook_is_asked_and_can_refuse",
    "02-2.1-4": _CHECKS + " " + _ADDR + "test_malformed_addresses_and_bound_sockets_are_refused_in_linux_order",
    "02-2.1-5": _HOOKS + "test_bind_is_refused_rewritten_and_freed_from_the_capability",
    "02-2.1-6": _CHECKS + " " + _ADDR + "test_malformed_addresses_and_bound_sockets_are_refused_in_linux_order",
    "02-2.1-7": _CHECKS + " " + _KINDS,
    "02-2.1-8": _CHECKS + " " + _KINDS,
    "02-2.1-9": _CHECKS,
    "02-2.1-10": _CHECKS + " " + _PAIR,
    "02-2.1-11": _HOOKS + "test_post_bind_gives_the_port_back",
    "02-2.1-order": _CHECKS,
    "02-2.1-raw": _P + "test_raw_sockets.py::payloads_and_headers",
    "02-2.2-1,2": _CHECKS,
    "02-2.2-3": _HOOKS + "test_bind_is_refused_rewritten_and_freed_from_the_capability",
    "02-2.2-4..9": _CHECKS + " " + _KINDS,
    "02-2.2-order": _CHECKS,
    "02-2.3-1..5": _KINDS + " " + _BIND + "special_addresses",
    "02-2.3-lifted": _KINDS + " " + _BIND + "special_addresses",
    "02-2.3-device": _KINDS + " " + _BIND + "special_addresses",
    "02-2.3-sent-from": _BIND + "special_addresses",
    "02-2.4-1..5,8..10": _KINDS,
    "02-2.4-6": _KINDS + " " + _BIND + "link_local_addresses",
    "02-2.4-7": _KINDS + " " + _BIND + "link_local_addresses",
    "02-2.4-11": _KINDS,
    "02-2.4-12": _BIND + "anycast_addresses",
    "02-2.4-13": _KINDS + " " + _BIND + "anycast_addresses",
    "02-2.4-v6only": _KINDS + " " + _BIND + "v6only_after_bind",
    "02-2.5-1": _BIND + "afterwards",
    "02-2.5-2": _BIND + "afterwards",
    "02-2.5-3": _BIND + "bound_without_a_port " + _AUTO,
    "02-2.5-4": _BIND + "devices_after_bind",
    "02-2.5-5": _BIND + "order_of_ports",
    "02-2.6-rule": _PAIR,
    "02-2.6-truth-1..12": _BIND + "test_flags_excuse_by_the_same_truth_table",
    "02-2.6-several": _SEQ,
    "02-2.6-matrix-1..8": _BIND + "test_addresses_overlap_by_the_same_matrix",
    "02-2.6-connected-1..8": _BIND + "test_addresses_overlap_by_the_same_matrix",
    "02-2.6-consequence-1": _BIND + "new_listeners",
    "02-2.6-consequence-2": _BIND + "automatic_client_port",
    "02-2.6-consequence-3": _BIND + "test_addresses_overlap_by_the_same_matrix",
    "02-2.7-1": _BIND + "second_check_in_listen",
    "02-2.7-2": _BIND + "second_check_in_listen",
    "02-2.8-cache-1..7": _SEQ,
    "02-2.8-covers": _SEQ,
    "02-2.8-toggle-1..6": _BIND + "test_a_flag_changed_after_bind_counts_alike",
    "02-2.8-release": _BIND + "bucket_comes_back",
    "02-2.8-repair": _U + "test_bind_rules.py::test_tcp_repair_skips_every_check",
    "02-2.9-1..6": _BIND + "order_of_ports " + _AUTO,
    "02-2.9-3": _BIND + "sharing_when_full " + _AUTO,
    "02-2.9-odd": _BIND + "odd_ranges",
    "02-2.9-reserved": _BIND + "reserved_ports",
    "02-2.9-sysctl": _SYS + "test_port_ranges_follow_the_same_rules",
    "02-2.10-conflict": _BIND + "test_datagram_sockets_share_by_the_same_table " + _PAIR,
    "02-2.10-port-0": _BIND + "datagram_ports " + _AUTO,
    "02-2.10-1": _DELIVERY + "last_bound_wins_among_reuseaddr",
    "02-2.10-2": _DELIVERY + "group_is_even_and_steady",
    "02-2.10-3": _DELIVERY + "specific_address_wins",
    "02-2.10-4": _DELIVERY + "connected_members",
    "02-2.10-5": _DELIVERY + "group_and_later_plain_socket",
    "02-2.10-6": _DELIVERY + "connected_members",
    "02-2.10-copies": _DELIVERY + "broadcast_on_veth " + _DELIVERY + "multicast_on_veth",
    "02-2.11-1": _BIND + "test_a_flag_changed_after_bind_counts_alike " + _SOL + "test_every_option_takes_and_refuses_the_same_values",
    "02-2.11-2": _BIND + "bound_without_a_port",
    "02-2.11-3": _BIND + "ranges_of_a_socket",
    "02-2.11-4": _BIND + "anycast_addresses " + _BIND + "special_addresses",
    "02-2.11-5": _BIND + "special_addresses " + _BIND + "devices_after_bind",
    "02-2.11-6": _BIND + "devices_after_bind " + _SOL + "test_every_option_takes_and_refuses_the_same_values",
    # tables and sock_diag
    "07-7.1-1": _DIAG + "numbers_of_tcp",
    "07-7.1-2,3": _TELL,
    "07-7.1-4": _TELL
    + " "
    + _WIRE
    + "listener_and_request "
    + _WIRE
    + "closing_first "
    + _WIRE
    + "closing_at_once "
    + _WIRE
    + "crossed_syns",
    "07-7.1-5": _WIRE + "syn_is_sent " + _WIRE + "data_waits",
    "07-7.1-6": _WIRE + "closing_second " + _WIRE + "data_waits",
    "07-7.1-7": _WIRE + "retransmitting " + _WIRE + "keeping_alive " + _WIRE + "orphans " + _WIRE + "probing_a_closed_window",
    "07-7.1-8": _WIRE + "orphans " + _WIRE + "keeping_alive",
    "07-7.1-9": _WIRE + "retransmitting " + _WIRE + "listener_and_request",
    "07-7.1-10": _SCENE + "other_owner",
    "07-7.1-11": _WIRE + "probing_a_closed_window " + _WIRE + "keeping_alive",
    "07-7.1-12": _TELL + " " + _WIRE + "orphans",
    "07-7.1-13": _WIRE + "closing_first " + _WIRE + "data_waits",
    "07-7.1-15..19": _WIRE + "data_waits " + _WIRE + "retransmitting",
    "07-7.1-order": _DIAG + "numbers_of_tcp",
    "07-7.1-short": _WIRE + "listener_and_request " + _WIRE + "orphans",
    "07-7.1-orphan": _WIRE + "orphans",
    "07-7.2-1": _TELL,
    "07-7.2-2": _TELL + " " + _DIAG + "buckets_of_udp " + _SCENE + "udp_drops",
    "07-7.2-3": _SCENE + "raw_sockets " + _SCENE + "ping_sockets",
    "07-7.2-4": _SCENE + "udp_sockets",
    "07-7.3-2..8": _UT + "test_proc_net_unix_shows_the_same_rows",
    "07-7.4-netlink": _P + "test_netlink_sockets.py::listed",
    "07-7.4-packet": _P + "test_packet_sockets.py::listed",
    "07-7.4-sockstat": _STAT,
    "07-7.4-protocols": _P + "test_netlink_route.py::protocols_of_both",
    "07-7.5-names": _DIAG + "names_of_counters",
    "07-7.5-constants": _DIAG + "names_of_counters",
    "07-7.5-1..4": _WIRE + "opens_and_failures",
    "07-7.5-5": _TWIRE + "timeout_backs_off " + _TWIRE + "a_syn_is_sent_again_linearly",
    "07-7.5-6,7": _WIRE + "accept_queue_overflows",
    "07-7.5-8": _WIRE + "full_syn_queue_without_cookies " + _WIRE + "full_syn_queue_with_cookies",
    "07-7.5-9": _WIRE + "cookies_always",
    "07-7.5-10": _WIRE + "opens_and_failures " + _WIRE + "abort_on_overflow",
    "07-7.5-11": _WIRE + "deferred_accept",
    "07-7.5-12": _TWIRE + "timeout_backs_off",
    "07-7.5-13,14": _WIRE + "aborts",
    "07-7.5-15": _WIRE + "aborts " + _TWIRE + "data_for_an_orphan_is_reset",
    "07-7.5-16": _WIRE + "killed_mini_sockets " + _WIRE + "time_waits",
    "07-7.5-17": _WIRE + "recycled_time_wait",
    "07-7.5-18": _WIRE + "time_waits",
    "07-7.5-19": _WIRE + "challenges " + _TWIRE + "challenge_acks",
    "07-7.5-20": _WIRE + "migrated_requests",
    "07-7.5-21": _WIRE + "challenges",
    "07-7.5-22": _UDP + "refused_by_icmp " + _UDP + "buffer_fills_and_drops",
    "07-7.6-request": _DIAG + "each_state " + _DIAG + "one_socket " + _DIAG + "odd_requests",
    "07-7.6-destroy": _P + "test_diag_destroy.py::connection " + _DIAG + "nobody_asks",
    "07-7.6-reply": _TELL,
    "07-7.6-1..4": _TELL + " " + _DIAG + "each_extension",
    "07-7.6-mask": _DIAG + "each_state",
    "07-7.6-attributes": _DIAG + "each_extension " + _DIAG + "nobody_asks",
    "07-7.6-unix": _UT + "test_unix_diag_tells_the_same_of_every_socket " + _UT + "test_unix_diag_lists_the_states_asked_for",
    "07-7.7-1..3": _SS + " " + _SSD + " " + _UROW + "test_ss_prints_the_unix_table_of_both_kernels_alike",
    "07-7.7-4,5": _SSD + " " + _DIAG + "test_ss_prints_the_same_words_of_a_connection",
    "07-7.7-6": _U + "test_twin_port.py::test_owners_are_the_descriptors_that_hold_a_socket",
    "07-7.7-7": _SSD,
    "07-7.7-8": _DIAG + "test_ss_prints_the_same_words_of_a_connection",
    "07-7.7-9": _P + "test_diag_destroy.py::connection",
    "07-7.7-bound": _SSD + " " + _DIAG + "each_state",
    "07-7.7-cookie": _DIAG + "one_socket",
    # UNIX sockets
    "08-8.1-types": _US + "test_socket_and_socketpair_take_three_types_and_two_protocols",
    "08-8.1-names": _UROW + "protocols_are_named",
    "08-8.1-options": _US + "test_other_option_levels_and_options_of_the_family",
    "08-8.2-1,2": _UN + "test_bind_checks_length_family_and_path_in_this_order",
    "08-8.2-3": _UN + "test_a_bound_socket_with_a_name_refuses_a_second_one_and_leaves_no_file",
    "08-8.2-4": _UN
    + "test_socket_path_mode_is_0777_without_umask_and_fchmod_before_bind_counts "
    + _UN
    + "test_existing_names_of_any_kind_are_in_use "
    + _UN
    + "test_bind_needs_write_and_search_permission_on_the_directory "
    + _UT
    + "test_read_only_file_system_refuses_new_names_and_serves_old_ones",
    "08-8.2-5": _UN + "test_bind_checks_length_family_and_path_in_this_order",
    "08-8.2-6": _UN + "test_abstract_names_count_every_byte_and_the_type " + _UN + "test_abstract_name_is_free_again_after_the_last_close",
    "08-8.2-unlink": _UN + "test_unlink_and_bind_again_makes_a_second_listener_while_the_first_goes_on",
    "08-8.2-rename": _UN + "test_rename_moves_the_socket_and_keeps_the_old_name_in_getsockname",
    "08-8.2-unbound": _UN + "test_unbound_names_and_unconnected_peers_are_told_apart",
    "08-8.2-namespaces": _UN + "test_abstract_names_belong_to_a_namespace_and_paths_to_the_file_system",
    "08-8.2-types": _UROW + "test_a_path_serves_one_socket_and_its_name_outlives_it",
    "08-8.2-autobind": _UN + "test_autobind_happens_at_connect_and_sendto_with_passcred_not_before",
    "08-8.3-listen-1,2": _US + "test_listen_needs_a_name_a_connection_type_and_no_connection",
    "08-8.3-listen-3": _UROW + "test_accept_and_listen_are_refused_by_type_and_state",
    "08-8.3-listen-4": _US
    + "test_backlog_is_clamped_to_somaxconn_of_4096 "
    + _US
    + "test_backlog_may_be_lowered_and_raised_later "
    + _US
    + "test_blocking_connect_waits_for_room_times_out_or_is_refused",
    "08-8.3-1..4": _US + "test_connect_errors_come_in_linux_order",
    "08-8.3-5": _UN
    + "test_connect_and_sendto_need_write_permission_on_the_socket_file "
    + _UN
    + "test_search_permission_on_every_directory_is_needed",
    "08-8.3-6,7": _US + "test_connect_errors_come_in_linux_order",
    "08-8.3-8": _US + "test_blocking_connect_waits_for_room_times_out_or_is_refused",
    "08-8.3-backlog": _US + "test_backlog_b_takes_b_plus_one_connections",
    "08-8.3-early": _US + "test_client_may_send_before_accept_and_leave_before_accept",
    "08-8.3-listener-closes": _US + "test_closing_the_listener_resets_clients_that_wait",
    "08-8.3-accept": _UROW + "test_accept_and_listen_are_refused_by_type_and_state",
    "08-8.3-datagram": _UD
    + "test_connect_errors_of_datagram_sockets_come_in_linux_order "
    + _UD
    + "test_a_connected_receiver_refuses_third_parties "
    + _UD
    + "test_a_socket_connected_to_itself_works",
    "08-8.4-1": _UROW + "test_full_size_messages_and_one_byte_more " + _UD + "test_send_buffer_limits_what_waits_at_the_peer",
    "08-8.4-2": _UD + "test_receiver_takes_one_message_more_than_max_dgram_qlen",
    "08-8.4-3": _UD + "test_send_buffer_limits_what_waits_at_the_peer",
    "08-8.4-4": _UROW + "test_full_size_messages_and_one_byte_more",
    "08-8.4-5": _UD + "test_receive_buffer_is_not_used",
    "08-8.5-1,2": _US + "test_calls_on_an_unconnected_socket",
    "08-8.5-3": _US + "test_sendto_with_an_address_on_a_connected_socket",
    "08-8.5-4": _US
    + "test_peer_closing_gives_end_of_file_or_one_reset "
    + _UD
    + "test_peer_closed_gives_refused_once_and_drops_the_association",
    "08-8.5-5": _US + "test_peer_closing_gives_end_of_file_or_one_reset " + _US + "test_reset_is_reported_by_so_error_once",
    "08-8.5-6": _US + "test_shutdown_of_one_end_shows_at_both",
    "08-8.5-7": _US + "test_stream_merges_messages_and_seqpacket_keeps_them_apart " + _UD + "test_empty_messages_are_delivered_and_peeked",
    "08-8.5-8": _US + "test_short_buffers_truncate_by_type",
    "08-8.5-9": _US + "test_peer_closing_gives_end_of_file_or_one_reset " + _UD + "test_empty_messages_are_delivered_and_peeked",
    "08-8.5-10": _UROW
    + "test_urgent_bytes_exist_on_streams_alone "
    + _URND
    + "test_urgent_bytes_in_random_order_look_alike_on_both_kernels",
    "08-8.5-11": _US + "test_peek_offset_moves_with_peeks_and_reads",
    "08-8.5-12": _US + "test_inq_and_outq_count_unread_bytes_and_memory",
    "08-8.5-13": _US + "test_zerocopy_flag_is_ignored " + _US + "test_other_option_levels_and_options_of_the_family",
    "08-8.6-1": _SCM + "test_at_most_253_descriptors_go_in_one_message " + _SCM + "test_a_bad_descriptor_fails_the_whole_send",
    "08-8.6-2": _SCM + "test_empty_messages_may_carry_descriptors_except_on_streams",
    "08-8.6-3": _SCM + "test_streams_stop_behind_descriptors_and_join_before_them",
    "08-8.6-4": _SCM
    + "test_small_control_buffers_take_what_fits_and_set_ctrunc "
    + _SCM
    + "test_plain_reads_and_closes_drop_the_descriptors "
    + _SCM
    + "test_receiver_s_descriptor_limit_cuts_the_list",
    "08-8.6-5": _SCM + "test_descriptors_arrive_and_refer_to_the_same_file " + _SCM + "test_peeking_duplicates_the_descriptors",
    "08-8.6-6": _SCM
    + "test_too_many_descriptors_in_flight_stop_an_unprivileged_user "
    + _SCM
    + "test_two_sockets_that_hold_each_other_are_collected",
    "08-8.6-7": _SCM + "test_descriptors_arrive_and_refer_to_the_same_file",
    "08-8.7-1": _UROW + "credentials_stay " + _SCM + "test_peercred_belongs_to_listen_and_connect_time",
    "08-8.7-2": _SCM + "test_peer_groups_and_peer_pidfd_exist_where_peercred_does",
    "08-8.7-3": _SCM + "test_explicit_credentials_are_checked " + _SCM + "test_own_credentials_are_filled_in_when_either_side_asked",
    "08-8.8-1": _PAIRS + " " + _US + "test_socket_and_socketpair_take_three_types_and_two_protocols",
    "08-8.9-1": _UROW + "test_ss_prints_the_unix_table_of_both_kernels_alike " + _UT + "test_unix_diag_tells_the_same_of_every_socket",
    # buffers, zero-copy, flags, errors
    "05-5.1-1..4,set,forced,initial": _STREAM + "buffers_of_every_kind " + _TCP + "buffers",
    "05-5.1-established": _WSOCK + "buffers_of_a_connection " + _SSD,
    "05-5.1-growing,lowat": _WSOCK + "buffers_of_a_connection",
    "05-5.1-child": _TCP + "buffers",
    "05-5.2-1,2": _STREAM + "segments_are_charged " + _UDP + "truesize_of_datagrams",
    "05-5.2-3": _US + "test_inq_and_outq_count_unread_bytes_and_memory " + _UDP + "queue_lengths",
    "05-5.2-4,5": _STREAM + "segments_are_charged " + _SSD,
    "05-5.2-6": _WSOCK + "writable_until_two_thirds " + _STREAM + "segments_are_charged",
    "05-5.2-7": _STREAM + "option_memory " + _WSOCK + "option_memory_ends",
    "05-5.2-8": _STREAM + "segments_are_charged",
    "05-5.2-9": _STREAM + "receiver_drops",
    "05-5.2-truesize": _STREAM
    + "segments_are_charged "
    + _UDP
    + "truesize_of_datagrams "
    + _UD
    + "test_messages_are_charged_their_memory_at_every_size_step",
    "05-5.2-ioctls": _TCP + "ioctls_of_streams " + _UDP + "queue_lengths",
    "05-5.3-1": _WSOCK + "small_pieces " + _WSOCK + "one_large_send",
    "05-5.3-2": _WSOCK + "writable_until_two_thirds " + _WSOCK + "small_pieces",
    "05-5.3-3": _WSOCK + "unsent_bytes_are_limited",
    "05-5.3-4": _WSOCK + "one_large_send " + _TCP + "filling_the_send_buffer",
    "05-5.3-udp": _STREAM + "fragments_need_room",
    "05-5.4-1": _TWIRE + "a_small_reader_closes_the_window",
    "05-5.4-2": _STREAM + "receiver_drops " + _STREAM + "default_room " + _UDP + "buffer_fills_and_drops",
    "05-5.5-1,3": _MEM + "test_pressure_ends_below_the_minimum_and_grants_fair_shares_meanwhile",
    "05-5.5-2": _MEM + "test_memory_above_the_maximum_is_refused",
    "05-5.5-4": _MEM + "test_memory_above_the_maximum_is_refused",
    "05-5.6-1": _STREAM + "who_may_copy_nothing",
    "05-5.6-2": _TCP + "zero_copy " + _US + "test_zerocopy_flag_is_ignored",
    "05-5.6-3": _TCP + "zero_copy",
    "05-5.6-4": _STREAM + "ids_of_streams " + _TCP + "zero_copy",
    "05-5.6-5": _STREAM + "completions_of_datagrams " + _TCP + "zero_copy",
    "05-5.6-6": _STREAM + "completions_of_datagrams " + _WSOCK + "completed_when_acknowledged",
    "05-5.6-7": _WSOCK + "completed_when_acknowledged",
    "05-5.6-8": _TCP + "zero_copy " + _WSOCK + "completed_when_acknowledged",
    "05-5.6-9": _WSOCK + "completed_when_acknowledged " + _STREAM + "completions_of_datagrams",
    "05-5.6-10": _WSOCK + "completed_when_acknowledged",
    "05-5.6-11": _WSOCK + "sends_behind_a_closed_window_share",
    "05-5.6-12": _WSOCK + "completions_are_joined",
    "05-5.6-13": _WSOCK + "completed_when_acknowledged " + _STREAM + "completions_of_datagrams",
    "05-5.6-14": _WSOCK + "option_memory_ends",
    "05-5.6-15": _STREAM + "pinned_pages_are_limited",
    "05-5.6-16": _WSOCK + "cost_of_one_byte",
    "05-5.6-17": _WSOCK + "reset_while_sending",
    "05-5.6-18": _WSOCK + "errors_and_completions_mix",
    "05-5.7-1,2": _STREAM + "flags_of_streams " + _TCP + "reading_and_peeking",
    "05-5.7-3,7": _TCP + "waiting_for_all",
    "05-5.7-4..6": _STREAM + "flags_of_streams " + _TCP + "reading_and_peeking",
    "05-5.7-8": _STREAM + "flags_of_streams " + _WSOCK + "bytes_for_a_reader",
    "05-5.7-9": _TCP + "bytes_left_as_a_message",
    "05-5.7-urgent": _STREAM + "urgent_twice " + _TCP + "urgent_bytes",
    "05-5.8-1": _STREAM + "flags_of_datagrams " + _UDP + "datagrams_cross " + _UDP + "peek_offset",
    "05-5.9-1,2": _UDP + "refused_by_icmp",
    "05-5.9-3,4": _MSG + "error_queue",
    "05-5.9-5": _MSG + "mtu_rules",
    "05-5.9-6": _WSOCK + "unreachable_while_connecting",
    "05-5.9-7,8": _WSOCK + "unreachable_once_connected",
    "05-5.9-9": _STREAM + "flags_of_streams " + _TCP + "zero_copy",
    # poll
    "06-6.1-1..4": _TCP + "poll_without_connection",
    "06-6.1-5,6": _WSOCK + "bits_while_opening",
    "06-6.1-7": _TCP + "poll_through_a_connection",
    "06-6.1-8": _TCP + "poll_through_a_connection " + _WSOCK + "bytes_for_a_reader",
    "06-6.1-9": _WSOCK + "urgent_byte " + _TCP + "poll_through_a_connection",
    "06-6.1-10": _WSOCK + "bits_while_closing",
    "06-6.1-11": _WSOCK + "bits_in_closing",
    "06-6.1-12": _TCP + "poll_after_shutdowns",
    "06-6.1-13": _WSOCK + "bits_in_closing " + _WSOCK + "bits_while_closing",
    "06-6.1-14,15": _TCP + "poll_after_resets",
    "06-6.1-16,17": _TCP + "poll_of_a_refused_connect",
    "06-6.1-18": _WSOCK + "fin_then_reset",
    "06-6.1-19": _TCP + "poll_after_disconnect",
    "06-6.1-20": _WSOCK + "writable_until_two_thirds",
    "06-6.1-21": _WSOCK + "closed_for_sending",
    "06-6.1-22": _WSOCK + "completed_when_acknowledged " + _WSOCK + "unreachable_while_connecting",
    "06-6.1-23": _TCP + "poll_without_connection",
    "06-6.2-1,4,5": _UDP + "shutdown_bits",
    "06-6.2-2": _UDP + "datagrams_cross " + _STREAM + "flags_of_datagrams",
    "06-6.2-3": _UDP + "refused_by_icmp",
    "06-6.2-6": _P + "test_raw_sockets.py::test_raw_sockets_do_the_same_on_both_kernels",
    "06-6.3-1,2": _US + "test_shutdown_works_without_a_connection",
    "06-6.3-3": _UT + "test_epoll_on_a_listener_reports_each_connection",
    "06-6.3-4,6": _UT + "test_epoll_reports_data_room_and_end_in_every_mode",
    "06-6.3-5": _US + "test_client_may_send_before_accept_and_leave_before_accept",
    "06-6.3-7": _US + "test_shutdown_of_one_end_shows_at_both",
    "06-6.3-8": _US + "test_shutdown_of_one_end_shows_at_both " + _US + "test_peer_closing_gives_end_of_file_or_one_reset",
    "06-6.3-9,10": _US + "test_peer_closing_gives_end_of_file_or_one_reset",
    "06-6.3-11": _UD + "test_peer_closed_gives_refused_once_and_drops_the_association",
    "06-6.3-12": _UD
    + "test_poller_of_a_full_peer_wakes_when_the_peer_reads "
    + _UD
    + "test_receiver_takes_one_message_more_than_max_dgram_qlen",
    "06-6.3-13": _US + "test_poll_reports_writable_at_a_quarter_of_the_buffer",
    "06-6.4-1,3": _PROW + "level_and_edge",
    "06-6.4-2": _PROW + "room_after_being_full",
    "06-6.4-4": _PROW + "few_events",
    "06-6.4-5": _PROW + "herd",
    "06-6.5-1": _PROW + "level_and_edge",
    "06-6.5-2": _PROW + "level_and_edge " + _PROW + "room_after_being_full",
    "06-6.5-3": _PROW + "one_shot",
    "06-6.5-4,5": _PROW + "few_events",
    "06-6.5-6": _PROW + "exclusive_entries",
    "06-6.5-errors": _FD + "epoll_ctl_errors " + _PROW + "exclusive_entries",
    "06-6.5-nesting": _FD + "epoll_nests_to_a_depth",
    "06-6.5-file": _FD + "epoll_entry_belongs_to_the_file " + _POLL + "same_file_under_two_numbers",
    "06-6.5-fdinfo": _POLL + "events_of_zero_and_private_bits " + _U + "test_core_files.py::test_fdinfo_and_links_of_a_process",
    "06-6.6-1..3": _PROW + "herd",
    "06-6.6-4": _POLL + "herd",
    "06-6.6-5": _PROW + "herd",
    "06-6.6-6": _PROW + "accepting_threads",
    "06-6.6-pollers": _POLL + "pollers_are_all_woken",
}

WITHOUT: dict[str, str] = {
    "01-1.1-6": "read in the source: an inode cannot be had only when memory ends, and the twin's does not",
    "01-1.1-11": "fs.file-max is one for the whole machine: tests/unit/test_socket_calls.py stands for it",
    "01-1.2-xdp": "D-inet-1",
    "01-1.2-vsock": "D-inet-1",
    "01-1.5-8": "D-tcp-8",  # mmap
    "01-1.6-6": "read in the source, not measured: connect(2) of UDP",
    "01-1.8-32": "D-inet-1",  # MPTCP
    "07-7.1-14": "D-proc-1",  # hashed pointers
    "07-7.3-1": "D-proc-1",
}

# Every row of a section; what the sheet marks as history or as read in the source is here too where it has a test
SECTIONS: dict[str, str] = {
    "01-1.1": "1..11,released",
    "01-1.2": "a,b,c,d,e,protocols,unix,netlink,packet,xdp,vsock,sock-packet",
    "01-1.3": "order,full,families",
    "01-1.4": "1..3,full,copy-in",
    "01-1.5": "1..10,inodes,queued,limits",
    "01-1.6": "1..14",
    "01-1.7": "1..12,granularity",
    "01-1.8": "1..33,elsewhere",
    "01-1.9": "line,order",
    "01-1.10": "1..5",
    "01-1.11": "1..11",
    "02-2.1": "1..11,order,raw",
    "02-2.2": "1..9,order",
    "02-2.3": "1..5,lifted,device,sent-from",
    "02-2.4": "1..13,v6only",
    "02-2.5": "1..5",
    "02-2.6": "rule,several",
    "02-2.6-truth": "1..12",
    "02-2.6-matrix": "1..8",
    "02-2.6-connected": "1..8",
    "02-2.6-consequence": "1..3",
    "02-2.7": "1,2",
    "02-2.8": "covers,release,repair",
    "02-2.8-cache": "1..7",
    "02-2.8-toggle": "1..6",
    "02-2.9": "1..6,odd,reserved,sysctl",
    "02-2.10": "conflict,port-0,1..6,copies",
    "02-2.11": "1..6",
    "05-5.1": "1..4,set,forced,initial,established,growing,lowat,child",
    "05-5.2": "1..9,truesize,ioctls",
    "05-5.3": "1..4,udp",
    "05-5.4": "1,2",
    "05-5.5": "1..4",
    "05-5.6": "1..18",
    "05-5.7": "1..9,urgent",
    "05-5.8": "1",
    "05-5.9": "1..9",
    "06-6.1": "1..23",
    "06-6.2": "1..6",
    "06-6.3": "1..13",
    "06-6.4": "1..5",
    "06-6.5": "1..6,errors,nesting,file,fdinfo",
    "06-6.6": "1..6,pollers",
    "07-7.1": "1..19,order,short,orphan",
    "07-7.2": "1..4",
    "07-7.3": "1..8",
    "07-7.4": "netlink,packet,sockstat,protocols",
    "07-7.5": "names,constants,1..22",
    "07-7.6": "request,destroy,reply,1..4,mask,attributes,unix",
    "07-7.7": "1..9,bound,cookie",
    "08-8.1": "types,names,options",
    "08-8.2": "1..6,unlink,rename,unbound,namespaces,types,autobind",
    "08-8.3-listen": "1..4",
    "08-8.3": "1..8,backlog,early,listener-closes,accept,datagram",
    "08-8.4": "1..5",
    "08-8.5": "1..13",
    "08-8.6": "1..7",
    "08-8.7": "1..3",
    "08-8.8": "1",
    "08-8.9": "1",
}

ROWS |= sheet_rows_tcp.ROWS
WITHOUT |= sheet_rows_tcp.WITHOUT
SECTIONS |= sheet_rows_tcp.SECTIONS


def labels(text: str) -> list[str]:
    """Return the labels that "1..3,8,name" stands for."""
    found: list[str] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        found += [str(number) for number in range(int(first), int(last) + 1)] if dots else [part]
    return found


def sections() -> dict[str, list[str]]:
    """Return every section's rows by their full names."""
    return {section: [f"{section}-{label}" for label in labels(text)] for section, text in SECTIONS.items()}


def section_of(key: str) -> str:
    """Return the longest section that a key of ROWS begins with, "" when there is none."""
    return max((section for section in SECTIONS if key.startswith(section + "-")), key=len, default="")


def covered() -> dict[str, str]:
    """Return the tests of each row by its full name."""
    found: dict[str, str] = {}
    for key, tests in ROWS.items():
        section = section_of(key)
        for label in labels(key[len(section) + 1 :]) if section else ():
            name = f"{section}-{label}"
            found[name] = f"{found[name]} {tests}" if name in found else tests
    return found

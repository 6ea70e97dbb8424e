"""Names of ICMP types and codes in scripts; `type_N` and `code_N` stand for any number."""

_TYPES4 = {
    "echo_reply": 0,
    "unreachable": 3,
    "source_quench": 4,
    "redirect": 5,
    "echo_request": 8,
    "time_exceeded": 11,
    "parameter_problem": 12,
    "timestamp_request": 13,
    "timestamp_reply": 14,
    "info_request": 15,
    "info_reply": 16,
}
_TYPES6 = {"unreachable": 1, "packet_too_big": 2, "time_exceeded": 3, "parameter_problem": 4, "echo_request": 128, "echo_reply": 129}
_CODES4 = {
    3: {
        "net_unreachable": 0,
        "host_unreachable": 1,
        "protocol_unreachable": 2,
        "port_unreachable": 3,
        "frag_needed": 4,
        "source_route_failed": 5,
        "net_unknown": 6,
        "host_unknown": 7,
        "source_host_isolated": 8,
        "net_prohibited": 9,
        "host_prohibited": 10,
        "net_unreachable_for_tos": 11,
        "host_unreachable_for_tos": 12,
        "communication_prohibited": 13,
        "host_precedence_violation": 14,
        "precedence_cutoff": 15,
    },
    11: {"ttl_exceeded": 0, "fragment_reassembly_time_exceeded": 1},
}
_CODES6 = {
    1: {"no_route": 0, "admin_prohibited": 1, "not_neighbour": 2, "address_unreachable": 3, "port_unreachable": 4},
    3: {"hop_limit_exceeded": 0, "fragment_reassembly_time_exceeded": 1},
    4: {"erroneous_header_field": 0, "unknown_next_header": 1, "unrecognized_option": 2},
}


def _numbered(name: str, prefix: str) -> int | None:
    rest = name.removeprefix(prefix)
    return int(rest) if name.startswith(prefix) and rest.isdigit() and int(rest) < 256 else None


def icmp_type(ip_version: int, name: str) -> int | None:
    """Return the number of a type, or None."""
    found = (_TYPES4 if ip_version == 4 else _TYPES6).get(name)
    return _numbered(name, "type_") if found is None else found


def icmp_code(ip_version: int, type_: int, name: str) -> int | None:
    """Return the number of a code of a type, or None."""
    found = (_CODES4 if ip_version == 4 else _CODES6).get(type_, {}).get(name)
    return _numbered(name, "code_") if found is None else found

"""How `twinsock ss` writes records for programs, and what it counts and sorts: JSON, CSV, Parquet, --sort, --group-by."""

from __future__ import annotations

import sys

from twinsock.ui.args import UsageError, did_you_mean, printable
from twinsock.ui.ss_data import COLUMNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twinsock.ui.ss_data import Record
    from twinsock.ui.ss_run import View

SCHEMA = "twinsock.ss/1"
_ROWS_PER_GROUP = 20_000


def column_value(record: Record, column: str) -> object:
    """Give a column's value; `tcp_info.rtt` looks inside."""
    name, dot, inner = column.partition(".")
    value = record[name]
    if dot:
        return value.get(inner) if isinstance(value, dict) else None
    return value


def check_column(column: str) -> str:
    """Accept a column's name. Raises UsageError."""
    if column.partition(".")[0] not in COLUMNS:
        raise UsageError(f"there is no column {printable(column)}{did_you_mean(column, COLUMNS) or ': ' + ', '.join(COLUMNS)}")
    return column


def sort_key(value: object) -> tuple[int, float, str]:
    """Order numbers before words, and nothing before both."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, (bool, int, float)):
        return 1, float(value), ""
    return 2, 0.0, str(value)


def ordered(found: Iterable[Record], column: str) -> list[Record]:
    """Sort by a column; `-column` puts the largest first."""
    name = check_column(column.removeprefix("-"))
    return sorted(found, key=lambda record: sort_key(column_value(record, name)), reverse=column.startswith("-"))


def grouped(found: Iterable[Record], columns: str) -> Iterator[Record]:
    """Count the records by columns, the most frequent first."""
    names = [check_column(name) for name in columns.split(",")]
    counts: dict[tuple[str, ...], int] = {}
    values: dict[tuple[str, ...], list[object]] = {}
    for record in found:
        row = [column_value(record, name) for name in names]
        key = tuple([repr(value) for value in row])
        counts[key] = counts.get(key, 0) + 1
        values.setdefault(key, row)
    for key in sorted(counts, key=lambda key: (-counts[key], [sort_key(value) for value in values[key]])):
        yield {"count": counts[key], **dict(zip(names, values[key], strict=True))}


def write_json(view: View, found: Iterable[Record], what: str) -> None:
    """Write one document, a record per line, as they come."""
    from json import JSONEncoder

    encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    write = sys.stdout.write
    write(f'{{"schema":"{SCHEMA}","{what}":[')
    comma = "\n"
    for record in found:
        write(comma + encode(record))
        comma = ",\n"
    write(f'\n],"notes":{encode(view.notes)}}}\n')


def write_csv(found: Iterable[Record], header: bool) -> None:
    """Write comma separated values, RFC 4180 with plain newlines; inner records become NAME=VALUE words."""
    from csv import writer

    out = writer(sys.stdout, lineterminator="\n")
    first = True
    for record in found:
        if first and header:
            out.writerow(record)
        first = False
        out.writerow([_flat(value) for value in record.values()])
    if first and header:
        out.writerow(COLUMNS)


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return " ".join([f"{name}={inner}" for name, inner in value.items()])
    if isinstance(value, list):
        return ";".join([str(_flat(item)) for item in value])
    return value


def write_parquet(path: str, found: Iterable[Record]) -> None:
    """Write an Apache Parquet file, some thousand rows at a time. Raises UsageError."""
    try:
        from importlib import import_module

        pyarrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError("--parquet needs pyarrow: pip install 'twinsock[parquet]' (or use --csv)") from None
    schema = pyarrow.schema([(name, _arrow_type(pyarrow, name)) for name in COLUMNS])
    try:
        with parquet.ParquetWriter(path, schema) as out:
            chunk: list[Record] = []
            for record in found:
                chunk.append({name: _for_arrow(name, value) for name, value in record.items()})
                if len(chunk) == _ROWS_PER_GROUP:
                    out.write_table(pyarrow.Table.from_pylist(chunk, schema))
                    chunk = []
            out.write_table(pyarrow.Table.from_pylist(chunk, schema))
    except OSError as error:
        raise UsageError(f"cannot write {printable(path)}: {error.strerror or error}") from None


_INTEGERS = (
    *("recv_q", "send_q", "local_port", "remote_port", "uid", "inode", "expires_ms", "retransmits", "mark", "shutdown"),
    *("peer_inode", "protocol", "pid", "tos", "tclass"),
)
_BOOLEANS = ("v6only", "reuseaddr", "reuseport")


def _arrow_type(pyarrow: object, name: str) -> object:
    """Choose a column's type; inner records travel as JSON text."""
    kind = "int64" if name in _INTEGERS else "uint64" if name == "cookie" else "bool_" if name in _BOOLEANS else "string"
    return getattr(pyarrow, kind)()


def _for_arrow(name: str, value: object) -> object:
    if isinstance(value, (dict, list)):
        from json import dumps

        return dumps(value)
    return value


def short_record(record: Record) -> Record:
    """Keep what a sorted table shows: where, in which state, who, and the columns that are filled."""
    short: Record = {} if record["netns"] is None else {"netns": record["netns"]}
    for name in ("netid", "state", "recv_q", "send_q"):
        short[name] = record[name]
    for end in ("local", "remote"):
        address, port = record[f"{end}_address"], record[f"{end}_port"]
        text = f"[{address}]" if ":" in str(address) else address
        short[end] = f"{text}:{port or '*'}" if address is not None else record["name"] if end == "local" else record["peer_inode"]
    short["users"] = record["users"]
    return short


def write_table(found: Iterable[Record], header: bool) -> None:
    """Write records as a plain table: counts, or sorted sockets."""
    all_records = list(found)
    rows = [[_cell(value) for value in record.values()] for record in all_records]
    if header and all_records:
        rows.insert(0, [name.upper().replace("_", "-") for name in all_records[0]])
    if not rows:
        return
    widths = [max([len(row[at]) for row in rows]) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip())


def _cell(value: object) -> str:
    from twinsock.ui.term import clean

    return "-" if value is None else clean(str(_flat(value)))

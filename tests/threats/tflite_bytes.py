"""TensorFlow Lite files written by hand in flatbuffers' format, whole or damaged in chosen places: neither TensorFlow nor flatbuffers is needed."""

import dataclasses
import struct

CUSTOM = 32


@dataclasses.dataclass(frozen=True)
class Table:
    """Fields by number: a number with its format, a text, or a list of tables."""

    fields: dict[int, "tuple[str, int] | str | list[Table]"]


def packed(root: Table) -> bytes:
    """The file: what a table points at lies behind it."""
    out = bytearray(b"\0\0\0\0TFL3")
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def model(*codes: Table, graphs: int = 1) -> bytes:
    """A model of these operator codes, and of so many empty graphs."""
    return packed(Table({0: ("<I", 3), 1: list(codes), 2: [Table({})] * graphs, 4: [Table({})]}))


def code(builtin: int, custom: str = "", *, deprecated: int = -1) -> Table:
    """An OperatorCode: newer files tell the number in its own field, older ones in the first."""
    fields: dict[int, tuple[str, int] | str | list[Table]] = {0: ("<b", builtin if deprecated < 0 else deprecated), 3: ("<i", builtin)}
    return Table(fields | ({1: custom} if custom else {}))


def _table(out: bytearray, table: Table) -> int:
    count = max(table.fields, default=-1) + 1
    out += bytes(-len(out) % 4)
    slots, offsets, size = {}, [0] * count, 4
    for field, value in table.fields.items():
        offsets[field], slots[field] = size, value
        size += 4
    layout = len(out)
    out += struct.pack(f"<HH{count}H", 4 + 2 * count, size, *offsets)
    out += bytes(-len(out) % 4)
    at = len(out)
    out += struct.pack("<i", at - layout) + bytes(size - 4)
    for field, value in slots.items():
        place = at + offsets[field]
        if isinstance(value, tuple):
            struct.pack_into(value[0], out, place, value[1])
        else:
            struct.pack_into("<I", out, place, _below(out, value) - place)
    return at


def _below(out: bytearray, value: str | list[Table]) -> int:
    out += bytes(-len(out) % 4)
    start = len(out)
    if isinstance(value, str):
        out += struct.pack("<I", len(value.encode())) + value.encode() + b"\0"
        return start
    out += struct.pack("<I", len(value)) + bytes(4 * len(value))
    for number, each in enumerate(value):
        place = start + 4 + 4 * number
        struct.pack_into("<I", out, place, _table(out, each) - place)
    return start

"""What processes take of the machine's memory, as Linux tells it. Read by the server for its status, and around the loading of a model."""

from pathlib import Path

import msgspec


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a process: resident, its share of what is shared, and its own that no file stands behind."""

    resident: int = 0
    proportional: int = 0
    private: int = 0


def memory_of(pid: int) -> Memory:
    """From /proc; zeros where there is none, or the process is gone."""
    sizes = {}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]:
            name, _, size = line.partition(":")
            sizes[name] = int(size.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return Memory()
    return Memory(resident=sizes.get("Rss", 0), proportional=sizes.get("Pss", 0), private=sizes.get("Anonymous", 0))

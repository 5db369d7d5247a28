"""The size of files: code stays readable in one sitting, the map fits on two screens. Run by `make check`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 600
FOLDERS = ("src", "tests", "bench", "tools")
SUFFIXES = {".py", ".sh", ".proto", ".lua"}
PAGES = {"ARCHITECTURE.md": 150}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def main() -> int:
    """Print every file over its budget; 1 if there is one."""
    code = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES)
    budgets = dict.fromkeys(code, MAX_LINES) | {ROOT / page: lines for page, lines in PAGES.items()}
    over = [(path, _lines(path), most) for path, most in budgets.items() if path.exists() and _lines(path) > most]
    for path, lines, most in over:
        print(f"{path.relative_to(ROOT)} has {lines} lines, {most} are allowed: split it by concept")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

"""No tracked file names a package index, or a path of the machine it was written on. Run by `make check`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRACES = {
    "a package index": re.compile(r"\b(pypi|pythonhosted|npmjs|crates|debian)\.(org|com|io|net)\b"),
    # /opt/ml and the like are what a cloud's contract names, on every machine
    "a path of one machine": re.compile(r"(?<![\w./~-])/(work|root|opt(?!/(?:ml|aws|extensions)\b)|home/[a-z]\w*|Users/\w+)/"),
}


def main() -> int:
    """Print every trace; 1 if there is one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    found = 0
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except UnicodeDecodeError:
            continue  # not text
        for number, line in enumerate(text.splitlines(), 1):
            for what, pattern in TRACES.items():
                if hit := pattern.search(line):
                    print(f"{name}:{number} names {what}: {hit[0]}")
                    found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())

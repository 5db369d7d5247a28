"""The allocator is told in a process of its own, as it would be by a server: what is freed is used again, without asking the system."""

import subprocess
import sys

CODE = """
import resource
from aweigh.serve.memory import keep_freed_memory
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    held = [bytes(600_000) for _ in range(8)]
    del held
before = faults()
for _ in range(20):
    held = [bytes(600_000) for _ in range(8)]
    del held
print(faults() - before)
"""


def test_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) < 2_000, "23,000 pages are touched"

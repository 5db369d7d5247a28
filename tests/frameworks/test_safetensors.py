"""Headers of safetensors that lie, opened by the framework that takes them, in its own environment: each a typed refusal that took no memory."""

import json
from pathlib import Path

import pytest
from tests.frameworks.kit import make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPENED = """
import json, resource, struct
from pathlib import Path
import torch
from aweigh.core.errors import AweighError
from aweigh.packing.frameworks.torch import TorchFramework
from aweigh.packing.recognise import recognise

def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

LYING = {
    "beyond the end": {"w": entry([4], 0, 16), "v": entry([1000], 16, 4016)},
    "over one another": {"w": entry([4], 0, 16), "v": entry([4], 8, 24)},
    "a hole": {"w": entry([4], 0, 16), "v": entry([4], 32, 48)},
    "backwards": {"w": entry([4], 16, 0)},
    "below zero": {"w": entry([4], -16, 0)},
    "another size than its shape": {"w": entry([400], 0, 16)},
    "a shape that overflows": {"w": entry([2**40, 2**40], 0, 16)},
    "a datatype that is none": {"w": entry([4], 0, 16, "os.system")},
    "no offsets": {"w": {"dtype": "F32", "shape": [4]}},
    "a list": [entry([4], 0, 16)],
}
told = {}
for name, header in LYING.items():
    text = json.dumps(header).encode()
    Path("lying.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(48))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        TorchFramework().load(Path("lying.safetensors"), recognise(Path("lying.safetensors")), trust=False)
        code = "loaded"
    except AweighError as error:
        code = error.code
    told[name] = [code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024]
Path("told.json").write_text(json.dumps(told))
"""


def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    told = json.loads((make("torch", OPENED, tmp_path) / "told.json").read_text())
    assert len(told) == 10
    assert {name: code for name, (code, _) in told.items() if code not in {"invalid-file", "unknown-format"}} == {}
    assert max(grown for _, grown in told.values()) < 50  # MiB

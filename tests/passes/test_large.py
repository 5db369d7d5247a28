"""Graphs too large for one file: weights lie beside what a pass writes, and what it writes in between. The bounds are lowered here, because a real one has gigabytes."""

from pathlib import Path

import msgspec
import pytest
from tests.frameworks.kit import make
from tests.passes.digits_onnx import agreement, job_of

from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Made

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SCRIPT = """
import msgspec
from pathlib import Path
from aweigh.optimization.graphs import files, shapes
from aweigh.core.protocols import quiet
from aweigh.optimization.making import ChildPass, make_in_child

files._ONE_FILE_BYTES = shapes._LARGE_BYTES = 1000
asked = msgspec.json.decode(Path("asked.json").read_bytes(), type=ChildPass)
Path("made.json").write_bytes(msgspec.json.encode(make_in_child(asked, quiet)))
"""


@pytest.mark.parametrize("name", ["int8-dynamic", "int4-weights", "fp16"])
def test_weights_beside_the_graph_come_out_beside_it(tmp_path: Path, name: str) -> None:
    job = job_of("beside", tmp_path, agreement=0.95)
    job = msgspec.structs.replace(job, way=ways_of(name, job)[0])
    Path(job.folder).mkdir()
    (tmp_path / "asked.json").write_bytes(msgspec.json.encode({"name": name, "job": job}))
    made = msgspec.json.decode((make("optimize", SCRIPT, tmp_path) / "made.json").read_bytes(), type=Made)
    assert agreement(job, made) >= 0.94
    if name != "int8-dynamic":  # whose tool goes by its own bounds
        assert set(made.files) == {"model.onnx", "model.onnx.data"}

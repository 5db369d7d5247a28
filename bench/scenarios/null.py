"""The same requests as iris, but no model behind them: aweigh serves a package of the null runtime, the bare loop answers zeros.

What is left is the server's own cost: wire, dialect, checks, counting.
"""

import dataclasses
import platform
from pathlib import Path

import numpy as np

from aweigh.app.packages import STORE_FOLDER
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.names import model_name
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.protocols import Draft
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.store import Store
from bench.scenarios import iris
from bench.workload import Workload

SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 4)),),
    outputs=(
        TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,)),
        TensorSpec(name="probabilities", datatype=Datatype.FP32, shape=(BATCH, 3)),
    ),
)
VARIANT = Variant(name="null", runtime="null", precision="none")


def prepare(folder: Path) -> Workload:
    workload = iris.prepare(folder)
    home = store_with("null", SIGNATURE, workload, [np.zeros(1, dtype=np.int64), np.zeros((1, 3), dtype=np.float32)], folder)
    return dataclasses.replace(
        workload, title="null: the requests of iris, no model behind them", model="null", expected=None, home=home, null=True
    )


def store_with(name: str, signature: Signature, workload: Workload, zeros: list[Tensor], folder: Path) -> Path:
    """A home whose store holds a package of the null runtime; what it answers to the workload's request is given as `zeros`."""
    home = folder / f"{name}-home"
    answers = GoldenAnswers(name="zeros", why="what the null runtime answers", inputs=dict(workload.inputs), outputs=zeros)
    cases, files = golden_files(signature, [answers])
    machine = Machine(system=platform.system(), architecture=platform.machine(), processor="", cores=1)
    evidence = Evidence(passed=True, strength=Strength.WEAK, data="zeros", made_at="1970-01-01T00:00:00Z", machine=machine, checks=())
    manifest = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=signature,
        variants=(Variant(name="null", runtime="null", precision="none", evidence=evidence),),
        golden=cases,
        provenance=Provenance(framework="null"),
    )
    Store(home / STORE_FOLDER).publish(model_name(name), Draft(manifest=manifest, files=dict(files)))
    return home

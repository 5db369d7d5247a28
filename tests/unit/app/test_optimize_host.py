"""Which of a package's variants a search begins at, and which it holds to its budget."""

from pathlib import Path

import msgspec
import numpy as np
from tests.stores.drafts import small_draft

from aweigh.app.optimize_data import Data
from aweigh.app.optimize_host import Host
from aweigh.core.evidence import Evidence, Machine, Strength
from aweigh.core.names import model_name
from aweigh.core.package import Hooks, Variant
from aweigh.core.protocols import Draft
from aweigh.isolate import Caps, Environments
from aweigh.optimization.material import split
from aweigh.optimization.passing import Kind
from aweigh.store import Store


def test_a_form_that_an_earlier_search_kept_is_never_the_baseline(tmp_path: Path) -> None:
    """One that answers as the source does was the quickest of all: the next search began at it, and looked at it no more."""
    draft = small_draft(hooks=Hooks())
    machine = Machine(system="", architecture="", processor="", cores=1)

    def variant(name: str, latency_us: float, **more: object) -> Variant:
        evidence = Evidence(
            strength=Strength.FULL, data="", checks=(), passed=True, made_at="", machine=machine, figures={"latency_us_b1": latency_us}
        )
        return msgspec.structs.replace(
            draft.manifest.variants[0], name=name, runtime="onnxruntime", departure=None, step=None, evidence=evidence, **more
        )

    kept = variant(
        "onnxruntime-session-threads-4", 10, options={"intra_op_threads": 4}, base="onnx", passes=("onnxruntime-session (threads 4)",)
    )
    manifest = msgspec.structs.replace(draft.manifest, variants=(kept, variant("onnx", 20)))
    package = Store(tmp_path / "store").publish(model_name("fraud"), Draft(manifest=manifest, files=draft.files))
    data = Data(source="", tensors={"x": np.ones((4, 2))}, right=None, split=split(4), strength=Strength.FULL)
    host = Host(handle=package, environments=Environments(tmp_path / "environments"), caps=Caps(), data=data)
    assert [each.variant.name for each in host.own_candidates()] == ["onnx"]
    earlier = host.earlier_candidates()
    assert [(each.variant.name, each.base, each.chain) for each in earlier] == [(kept.name, "onnx", kept.passes)]
    assert earlier[0].kinds == (Kind.TUNE,)
    assert not earlier[0].departs

"""When a search has anything for another version of a package."""

from aweigh.app.optimize import _worth
from aweigh.core.package import FORMAT_VERSION, PackageManifest, Provenance, Variant
from aweigh.core.signature import Signature
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.earlier import Settled
from aweigh.optimization.search import Found


def test_what_is_made_again_for_machines_of_another_kind_is_nothing_new() -> None:
    phone = Variant(name="coreml-fp16", runtime="coreml", precision="fp16")
    found = Found(
        results=(), kept=(), own=(), earlier=Settled(), unproven=(Candidate(variant=phone, files={}, base="onnx", chain=("coreml fp16",)),)
    )
    without = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=Signature(inputs=(), outputs=()),
        variants=(),
        golden=(),
        provenance=Provenance(framework=""),
    )
    holding = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=Signature(inputs=(), outputs=()),
        variants=(phone,),
        golden=(),
        provenance=Provenance(framework=""),
    )
    assert _worth(found, without, "")
    assert not _worth(found, holding, "")
    assert _worth(found, holding, "timed in turns, 'b' answers single rows now")

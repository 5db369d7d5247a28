"""Jobs to render: a small package, and the target's own options as a person gives them."""

from pathlib import Path
from typing import Any, cast

import msgspec

from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.names import ModelName
from aweigh.core.package import FORMAT_VERSION, PackageFile, PackageManifest, Provenance, Variant
from aweigh.core.plugins import load
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.deploy.capacity import Capacity
from aweigh.deploy.folder import Ledger, write_folder
from aweigh.deploy.target import Demand, DeployJob, Finding, Rendered, Scale, Target
from aweigh.testing.fakes import FakeHandle

DIGEST = "sha256:" + "ab" * 32
IMAGE = f"registry.example:5000/team/fraud@{DIGEST}"
CAPACITY = Capacity(
    requests_per_second=2000.0, latency_ms=0.5, memory_mib=82, start_s=0.35, measured=False, source="reckoned from the evidence"
)


def target(name: str) -> Target:
    return cast("type[Target]", load("target", name))()


def package(folder: Path, *, name: str = "fraud", version: int = 3) -> FakeHandle:
    machine = Machine(system="Linux", architecture="x86_64", processor="p", cores=2)
    proof = Evidence(
        passed=True,
        strength=Strength.FULL,
        data="test",
        made_at="2026-01-01T00:00:00Z",
        machine=machine,
        checks=(Check(name="golden", passed=True),),
    )
    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("model.onnx",), evidence=proof)
    file = PackageFile(path="model.onnx", digest=ModelName(DIGEST), size_bytes=2000)  # type: ignore[arg-type]
    manifest = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=Signature(inputs=(), outputs=()),
        variants=(variant,),
        golden=(),
        files=(file,),
        provenance=Provenance(framework="test"),
    )
    return FakeHandle(manifest, folder, name=name, version=version)


def job(folder: Path, kind: str, **more: Any) -> DeployJob:
    """`set_` holds the target's options."""
    options = msgspec.convert(more.pop("set_", {}), target(kind).options, strict=False)
    handle = more.pop("package", None) or package(folder)
    known: dict[str, Any] = {"name": "fraud", "image": IMAGE, "scale": Scale(least=2, most=6), "demand": Demand(), "capacity": CAPACITY}
    return DeployJob(
        package=handle,
        variant=handle.manifest.variants[0],
        options=options,
        settings=Settings(home=str(folder / "home")),
        cache=folder / "cache",
        **(known | more),
    )


def render(folder: Path, kind: str, one: DeployJob) -> Rendered:
    """Into the folder, as `aweigh deploy` does."""
    rendered = target(kind).render(one)
    ledger = Ledger(name=one.name, target=kind, model=str(one.package.reference), digest=one.package.digest, files={})
    write_folder(folder, rendered.files, ledger, force=True)
    return rendered


def wrong(findings: list[Finding]) -> list[str]:
    """The fatal ones, as they are told."""
    return [f"{each.place}: {each.message}" for each in findings if each.fatal]

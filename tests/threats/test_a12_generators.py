"""A12: hostile names and values through every target. What is rendered is refused, or has the structure of the benign case; no link leads out of the context."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.deploying.packages import WEIGHTS, publish
from tests.threats.generated import structure

from aweigh.app.deploy import deployment_name
from aweigh.core.errors import AweighError, Conflict, InvalidName
from aweigh.core.names import Digest, Reference, model_name
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import load, plugins
from aweigh.core.settings import Settings
from aweigh.core.signature import Column, ColumnKind
from aweigh.deploy.capacity import reckoned
from aweigh.deploy.folder import Ledger, write_folder
from aweigh.deploy.target import Demand, DeployJob, Scale, Target
from aweigh.store import StoredPackage

HOSTILE = [
    "x\nRUN id",
    "$(id)",
    "`id`",
    "'; id #",
    "{{7*7}}",
    "--flag",
    "a: b",
    "\u2028",
    '"\n  evil: true',
    "%(x)s",
    "\\",
    '"} name: "y',
    "${HOME}",
    "\x00",
    "#{x}",
]
"""Those of the threat list, and the characters with which other formats are left."""
IMAGE = "registry.example/team/linear@sha256:" + "0" * 64
RUNTIMES = {"tfserving": ("tensorflow", "variants/tensorflow/saved_model.pb"), "torchserve": ("torch", "variants/torch/model.pt")}
FETCHES = {"runner", "lambda", "cloud-functions", "azureml"}
"""Targets whose files come out of wheels from the package index."""
ASKED: dict[str, dict[str, object]] = {"sagemaker": {"role": "arn:aws:iam::123456789012:role/models"}}
"""Options with which a target can be rendered, where not every text will do."""
TARGETS = [pytest.param(row.name, marks=[pytest.mark.index] if row.name in FETCHES else []) for row in plugins("target")]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handle:
    """A stored package whose manifest says other things."""

    reference: Reference
    digest: Digest
    manifest: PackageManifest
    stored: StoredPackage
    other: Path

    def path(self, file: str) -> Path:
        known = {each.path for each in self.stored.manifest.files}
        return self.stored.path(file) if file in known else self.other


def network(said: str) -> Any:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"in {said}", "W"], [f"out {said}"])],
        "linear",
        [value(f"in {said}", TensorProto.FLOAT, ["N", 4])],
        [value(f"out {said}", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def package(folder: Path, said: str, target: str) -> Handle:
    """Every text of a package that a stranger chooses, `said` in it."""
    stored = PACKAGES.get(said) or PACKAGES.setdefault(said, publish(folder, f"m{len(PACKAGES)}", network(said)))
    manifest = stored.manifest
    (taken,), (given,) = manifest.signature.inputs, manifest.signature.outputs
    columns = tuple(Column(name=f"{said} {at}", kind=ColumnKind.NUMBER, input=taken.name, index=at) for at in range(4))
    signature = msgspec.structs.replace(
        manifest.signature, columns=columns, labels=(said, "b", "c"), outputs=(msgspec.structs.replace(given, role="probability"),)
    )
    provenance = msgspec.structs.replace(manifest.provenance, source_file=said, source_class=said, source_address=said, command=said)
    variants = manifest.variants
    if target in RUNTIMES:
        runtime, file = RUNTIMES[target]
        variants = (Variant(name="other", runtime=runtime, precision="fp32", files=(file,), evidence=variants[0].evidence),)
    other = folder / "other"
    other.write_bytes(b"model")
    changed = msgspec.structs.replace(
        manifest, signature=signature, provenance=provenance, variants=variants, description=said, licence=said, metrics={said: 1.0}
    )
    return Handle(
        reference=Reference(name=model_name("fraud"), version=3), digest=stored.digest, manifest=changed, stored=stored, other=other
    )


PACKAGES: dict[str, StoredPackage] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    PACKAGES.clear()
    return tmp_path_factory.mktemp("packages")


def texts(name: str) -> list[str]:
    """Fewer where a rendering takes seconds."""
    return HOSTILE[::6] if name in FETCHES else HOSTILE


def target_of(name: str) -> Target:
    return cast("type[Target]", load("target", name))()


def job(handle: Handle, target: Target, folder: Path, *, image: str = IMAGE, options: dict[str, object] | None = None) -> DeployJob:
    return DeployJob(
        name="fraud",
        package=handle,
        variant=handle.manifest.variants[0],
        options=msgspec.convert(options or {}, target.options, strict=False),
        capacity=reckoned(handle, handle.manifest.variants[0]),
        image=image,
        scale=Scale(least=1, most=3),
        demand=Demand(requests_per_second=100),
        settings=Settings(home=str(folder / "home")),
        cache=folder / "cache",
    )


def asked(target: Target) -> dict[str, object]:
    """Options that have no default, filled in."""
    return {field.name: "value" for field in msgspec.structs.fields(target.options) if field.required} | ASKED.get(target.name, {})


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_texts_of_a_package_leave_the_structure_as_it_is(folder: Path, name: str) -> None:
    target = target_of(name)
    benign = structure(target.render(job(package(folder, "benign", name), target, folder, options=asked(target))), "benign")
    for said in texts(name):
        try:
            rendered = target.render(job(package(folder, said, name), target, folder, options=asked(target)))
        except AweighError:
            continue  # refused, by name
        assert structure(rendered, said) == benign, f"{name}: {said!r}"


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_options_and_addresses_are_refused_or_stay_values(folder: Path, name: str) -> None:
    target = target_of(name)
    handle = package(folder, "benign", name)
    options = [field.name for field in msgspec.structs.fields(target.options) if _is_text(field.type)]
    benign = {option: _rendered(handle, target, folder, option, "benign") for option in ("image", *options)}
    for option, shape in benign.items():
        for said in texts(name):
            found = _rendered(handle, target, folder, option, said)
            known = shape if shape is not None else _rendered(handle, target, folder, "", "")
            assert found is None or found == known, f"{name}: {option}={said!r}"


def _is_text(kind: Any) -> bool:
    return kind is str or getattr(kind, "__origin__", None) is str


def _rendered(handle: Handle, target: Target, folder: Path, option: str, said: str) -> dict[str, Any] | None:
    """The structure; None where it is refused."""
    options = asked(target) | ({option: said} if option not in {"", "image"} else {})
    try:
        one = job(handle, target, folder, options=options, image=said if option == "image" else IMAGE)
        return structure(target.render(one), said)
    except (AweighError, msgspec.ValidationError):
        return None


@pytest.mark.parametrize("said", HOSTILE)
def test_no_such_text_is_a_name(said: str) -> None:
    for check in (model_name, deployment_name):
        with pytest.raises(InvalidName):
            check(said)


@pytest.mark.parametrize("link", ["folder", "file", "ledger"])
def test_links_do_not_lead_what_is_rendered_out_of_its_folder(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("secret")
    out = tmp_path / "out"
    out.mkdir()
    of = Ledger(name="fraud", target="docker", model="fraud:1", digest="sha256:" + "0" * 64, files={})
    if link == "folder":
        (out / "base").symlink_to(outside)
    elif link == "file":
        (out / "kept").symlink_to(outside / "kept")
    else:
        (out / "aweigh-deploy.json").symlink_to(outside / "kept")
    for force in (False, True):
        with pytest.raises(Conflict, match="a link"):
            write_folder(out, {"base/kept": b"new", "kept": b"new"}, of, force=force)
    assert {each.name for each in outside.iterdir()} == {"kept"}
    assert (outside / "kept").read_text() == "secret"

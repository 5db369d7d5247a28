"""The verb `pack`: a trained model, file or object, becomes a proven `Draft`. Called by `app`; publishes nothing.

A file is parsed, judged, converted and proven inside one capped child without network; a live model is worked on in this process.
"""

import tempfile
from pathlib import Path

import msgspec

from aweigh import isolate
from aweigh.core.errors import Unsupported
from aweigh.core.package import PackageManifest
from aweigh.core.protocols import Draft
from aweigh.packing.assemble import assemble
from aweigh.packing.child import ChildJob, ChildResult, child_paths
from aweigh.packing.choose import framework_for_object
from aweigh.packing.job import PackRequest


def pack(source: object, request: PackRequest) -> Draft:
    """Pack a path or a live model. Raises UnknownFormat, NotTrusted, InvalidFile, InvalidInput, ProofFailed, MissingLibrary, ChildDied, …"""
    if request.work is None:
        with tempfile.TemporaryDirectory(prefix="aweigh-pack-") as folder:
            draft = _pack(source, request, Path(folder))
            files = {name: data if isinstance(data, bytes) else data.read_bytes() for name, data in draft.files.items()}
            return Draft(manifest=draft.manifest, files=files)
    request.work.mkdir(parents=True, exist_ok=True)
    return _pack(source, request, request.work)


def _pack(source: object, request: PackRequest, work: Path) -> Draft:
    if not isinstance(source, str | Path):
        framework = framework_for_object(source)
        return assemble(framework, source, request, work)
    path = Path(source)
    request.progress("recognising the file")
    job = ChildJob(
        source=str(path.absolute()),
        sample=_on_disk(request.sample, work / "sample.tensors", "sample"),
        labels=_on_disk(request.labels, work / "labels.tensors", "labels"),
        trust=request.trust,
        pre=request.pre,
        post=request.post,
        padding={name: _plain(fill) for name, fill in request.padding.items()},
        prove=_named(request.prove),
        work=str(work),
        licence=request.licence,
        description=request.description,
        command=request.command,
    )
    result = isolate.call(
        "aweigh.packing.child:pack_in_child", job, ChildResult, caps=request.caps, progress=request.progress, paths=child_paths()
    )
    return Draft(
        manifest=msgspec.convert(result.manifest, PackageManifest), files={name: work / file for name, file in result.files.items()}
    )


def _plain(fill: object) -> int | float | str:
    """A value as the child can be told it: numpy's numbers as Python's, everything else in words."""
    plain = getattr(fill, "item", lambda: fill)()
    return plain if isinstance(plain, int | float | str) and not isinstance(plain, bool) else str(plain)


def _on_disk(data: object, place: Path, what: str) -> str:
    """A path as it is; an object written down for the child to read."""
    if data is None:
        return ""
    if isinstance(data, str | Path):
        return str(Path(data).absolute())
    from aweigh.packing.sample import read_sample, write_sample  # pandas: 0.3 s that a path, read by the child, need not cost here

    place.write_bytes(write_sample(read_sample(data, what=what)))
    return str(place)


def _named(prove: object) -> str:
    module, name = getattr(prove, "__module__", ""), getattr(prove, "__qualname__", "")
    if not module or not name or "<" in name or module == "__main__":
        raise Unsupported("a file is proven in a child, which must be able to import the prover", hint="pass a function of a module")
    return f"{module}:{name}"

"""The verb `pack`: a trained model, file or object, becomes a proven `Draft`. Called by `app`; publishes nothing.

A file is parsed, judged, converted and proven inside one capped child without network; a live model is worked on in this process.
"""

import dataclasses
import tempfile
from pathlib import Path

import msgspec

from aweigh import isolate
from aweigh.core.errors import MissingLibrary, Unsupported
from aweigh.core.package import PackageManifest
from aweigh.core.plugins import Plugin
from aweigh.core.protocols import Draft
from aweigh.isolate.process import HERE
from aweigh.packing.also import provide, read_also
from aweigh.packing.assemble import assemble
from aweigh.packing.child import Accused, ChildJob, ChildResult, child_paths
from aweigh.packing.choose import framework_for_object, row_for_file
from aweigh.packing.job import PackRequest
from aweigh.packing.layouts import Stated, look_inside
from aweigh.packing.media import read_plan
from aweigh.packing.python_class import recognise_class


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
    if request.plan is None:
        request = dataclasses.replace(request, plan=read_plan(request.image, request.sound, request.answer))
    if not isinstance(source, str | Path):
        framework = framework_for_object(source)
        provide(read_also(request.also), request.environments, elsewhere=False, progress=request.progress)
        return assemble(framework, source, request, work)
    request.progress("recognising the file")
    own = recognise_class(Path(source), request.factory) is not None
    inside = None if own else look_inside(Path(source).absolute(), work, trust=request.trust)
    path = inside.file if inside else Path(source)
    sample = inside.sample if inside and request.sample is None else request.sample
    row = row_for_file(path, request.factory)
    home = _home(path, row, request)
    provide(read_also(request.also), request.environments, elsewhere=bool(home.code), progress=request.progress)
    job = ChildJob(
        source=str(path.absolute()),
        sample=_on_disk(sample, work / "sample.tensors", "sample"),
        labels=_on_disk(request.labels, work / "labels.tensors", "labels"),
        trust=request.trust,
        factory=request.factory,
        opset=request.opset,
        pre=request.pre,
        post=request.post,
        plan=request.plan,
        padding={name: _plain(fill) for name, fill in request.padding.items()},
        tolerances=dict(request.tolerances),
        prove=_named(request.prove),
        work=str(work),
        licence=request.licence,
        description=request.description,
        command=request.command,
        origin=request.origin,
        layout=inside.layout if inside else "",
        stated=inside.stated if inside else Stated(),
        cases=tuple(map(str, inside.cases)) if inside else (),
        also=request.also,
        environments=str(request.environments.folder) if request.environments is not None else "",
        homes=_apart(path, row, request),
        caps=request.caps,
    )
    result = isolate.call(
        "aweigh.packing.child:pack_in_child",
        job,
        ChildResult,
        caps=request.caps,
        progress=request.progress,
        paths=child_paths(elsewhere=bool(home.code)),
        home=home,
    )
    return Draft(
        manifest=msgspec.convert(result.manifest, PackageManifest), files={name: work / file for name, file in result.files.items()}
    )


def _home(path: Path, row: Plugin, request: PackRequest) -> isolate.Home:
    """Where the child runs: here, where the libraries are, else in an environment that has them. A source that is refused costs nobody an environment."""
    if request.environments is None or not row.environment or not row.missing():
        return HERE
    _judge_first(path, row.environment, request)
    request.progress(f"{', '.join(row.missing())} is not installed here: using an environment that has it")
    return request.environments.home(row.environment, progress=request.progress)


def _judge_first(path: Path, environment: str, request: PackRequest) -> None:
    """The verdict on a source whose environment is not there yet."""
    if request.environments is not None and not request.environments.has(environment):
        accused = Accused(source=str(path.absolute()), trust=request.trust, factory=request.factory)
        isolate.call("aweigh.packing.child:judge_in_child", accused, type(None), caps=request.caps)


def _apart(path: Path, row: Plugin, request: PackRequest) -> dict[str, isolate.Home]:
    """The environment of a framework that lives in one of its own, made now: the child has no network."""
    if not row.apart:
        return {}
    if request.environments is None:
        raise MissingLibrary(f"'{row.name}' needs an environment of its own, and none may be used", hint="pack it with `aweigh pack`")
    _judge_first(path, row.apart, request)
    request.progress(f"{row.name} cannot live beside aweigh's libraries: using an environment of its own")
    return {row.apart: request.environments.home(row.apart, progress=request.progress)}


def _plain(fill: object) -> int | float | str:
    """A value as the child can be told it: numpy's numbers as Python's, everything else in words."""
    plain = getattr(fill, "item", lambda: fill)()
    return plain if isinstance(plain, int | float | str) and not isinstance(plain, bool) else str(plain)


def _on_disk(data: object, place: Path, what: str) -> str:
    """A path as it is, and the name of a column; an object written down for the child to read."""
    if data is None:
        return ""
    if what == "labels" and isinstance(data, str) and not Path(data).is_file():
        return data
    if isinstance(data, str | Path):
        return str(Path(data).absolute())
    from aweigh.packing.media_sample import given_files  # pandas: 0.3 s that a path, read by the child, need not cost here
    from aweigh.packing.sample import read_sample, write_sample

    place.write_bytes(write_sample(given_files(data) or read_sample(data, what=what)))
    return str(place)


def _named(prove: object) -> str:
    module, name = getattr(prove, "__module__", ""), getattr(prove, "__qualname__", "")
    if not module or not name or "<" in name or module == "__main__":
        raise Unsupported("a file is proven in a child, which must be able to import the prover", hint="pass a function of a module")
    return f"{module}:{name}"

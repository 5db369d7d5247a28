"""The child's side of packing a file: recognises, judges, loads, converts and proves. Runs only inside an isolated process."""

import importlib
import shutil
from pathlib import Path

import msgspec

from aweigh.core.package import PackageManifest
from aweigh.core.protocols import Progress
from aweigh.isolate import Caps, Home
from aweigh.isolate.process import caller_paths
from aweigh.packing.also import environments_in
from aweigh.packing.assemble import assemble
from aweigh.packing.choose import can_judge, framework_for_format, framework_for_loaded, judge, recognise_source
from aweigh.packing.job import PackRequest
from aweigh.packing.layouts import Stated, agreed
from aweigh.packing.media import Plan
from aweigh.packing.trust import check_trust


class ChildJob(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: paths, names and flags. "" stands for nothing."""

    source: str
    sample: str
    labels: str
    trust: bool
    factory: str
    opset: int
    pre: str
    post: str
    plan: Plan | None = None
    padding: dict[str, int | float | str]
    tolerances: dict[str, tuple[float, float | None]]
    prove: str
    """The prover as "module:function"."""
    work: str
    licence: str
    description: str
    command: str
    origin: str = ""
    layout: str = ""
    """What the source was found inside of, in words."""
    stated: Stated = Stated()
    cases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    environments: str = ""
    homes: dict[str, Home]
    caps: Caps


class Accused(msgspec.Struct, frozen=True, kw_only=True):
    """A source to be judged."""

    source: str
    trust: bool
    factory: str


class ChildResult(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest, and the package's files by their place in the work folder."""

    manifest: PackageManifest
    files: dict[str, str]


def judge_in_child(accused: Accused) -> None:
    """The verdict alone, by what is installed here. What it raises crosses to the parent as text."""
    source = Path(accused.source)
    recognised = recognise_source(source, accused.factory)
    check_trust(source, recognised, trust=accused.trust)
    if can_judge(recognised):
        judge(source, recognised, trust=accused.trust)


def pack_in_child(job: ChildJob, progress: Progress) -> ChildResult:
    """Pack `job.source`. What it raises crosses to the parent as text."""
    module, _, function = job.prove.partition(":")
    source, work = Path(job.source), Path(job.work)
    request = PackRequest(
        prove=getattr(importlib.import_module(module), function),
        sample=job.sample or None,
        labels=job.labels or None,
        trust=job.trust,
        factory=job.factory,
        opset=job.opset,
        pre=job.pre,
        post=job.post,
        plan=job.plan,
        padding=job.padding,
        tolerances=job.tolerances,
        progress=progress,
        licence=job.licence,
        description=job.description,
        command=job.command,
        also=job.also,
        environments=environments_in(job.environments),
        homes=job.homes,
        caps=job.caps,
        work=work,
        origin=job.origin,
    )
    recognised = recognise_source(source, job.factory)
    check_trust(source, recognised, trust=job.trust)
    judge(source, recognised, trust=job.trust)
    framework = framework_for_format(recognised.format)
    model = framework.load(source, recognised, trust=job.trust)
    framework = framework_for_loaded(model, framework)
    draft = assemble(framework, model, request, work, source=source, recognised=recognised, cases=tuple(map(Path, job.cases)))
    manifest = agreed(draft.manifest, job.stated)
    if job.layout:
        manifest = msgspec.structs.replace(manifest, provenance=msgspec.structs.replace(manifest.provenance, source_layout=job.layout))
    files: dict[str, str] = {}
    for number, (name, data) in enumerate(draft.files.items()):
        if isinstance(data, bytes) or not data.is_relative_to(work):
            place = work / f"file-{number}"
            if isinstance(data, bytes):
                place.write_bytes(data)
            else:
                shutil.copyfile(data, place)
        else:
            place = data
        files[name] = str(place.relative_to(work))
    return ChildResult(manifest=manifest, files=files)


def child_paths(*, elsewhere: bool = False) -> list[str]:
    """Where the child looks for modules beside the standard places: the caller's own, and the folder it stands in. `elsewhere`: see `caller_paths`."""
    return [*caller_paths(elsewhere=elsewhere), str(Path.cwd())]

"""The child's side of packing a file: recognises, judges, loads, converts and proves. Runs only inside an isolated process."""

import importlib
import shutil
import sys
from pathlib import Path

import msgspec

from aweigh.core.package import PackageManifest
from aweigh.core.protocols import Progress
from aweigh.packing.assemble import assemble
from aweigh.packing.choose import framework_for_format, framework_for_loaded
from aweigh.packing.job import PackRequest
from aweigh.packing.recognise import recognise
from aweigh.packing.trust import check_trust


class ChildJob(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told: paths, names and flags. "" stands for nothing."""

    source: str
    sample: str
    labels: str
    trust: bool
    pre: str
    post: str
    padding: dict[str, int | float | str]
    prove: str
    """The prover as "module:function"."""
    work: str
    licence: str
    description: str
    command: str


class ChildResult(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest, and the package's files by their place in the work folder."""

    manifest: PackageManifest
    files: dict[str, str]


def pack_in_child(job: ChildJob, progress: Progress) -> ChildResult:
    """Pack `job.source`. What it raises crosses to the parent as text."""
    module, _, function = job.prove.partition(":")
    source, work = Path(job.source), Path(job.work)
    request = PackRequest(
        prove=getattr(importlib.import_module(module), function),
        sample=job.sample or None,
        labels=job.labels or None,
        trust=job.trust,
        pre=job.pre,
        post=job.post,
        padding=job.padding,
        progress=progress,
        licence=job.licence,
        description=job.description,
        command=job.command,
        work=work,
    )
    recognised = recognise(source)
    check_trust(source, recognised, trust=job.trust)
    framework = framework_for_format(recognised.format)
    model = framework.load(source, recognised, trust=job.trust)
    framework = framework_for_loaded(model, framework)
    draft = assemble(framework, model, request, work, source=source, recognised=recognised)
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
    return ChildResult(manifest=draft.manifest, files=files)


def child_paths() -> list[str]:
    """Where the child looks for modules beside the standard places: the caller's own, and the folder it stands in."""
    return [*(place for place in sys.path if place), str(Path.cwd())]

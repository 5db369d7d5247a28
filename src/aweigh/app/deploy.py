"""Deployments: render a package for a target, check what was rendered, apply it through the vendor's client, keep a record, take it away again."""

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from aweigh.app.models import open_model
from aweigh.core.errors import AweighError, Conflict, InvalidInput, InvalidName, Refused, Unsupported
from aweigh.core.nearest import nearest
from aweigh.core.objective import parse_objective
from aweigh.core.plugins import load, plugins
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.deploy.capacity import Capacity, measured, reckoned
from aweigh.deploy.commands import Commands
from aweigh.deploy.folder import Ledger, write_folder
from aweigh.deploy.records import Deployment, Deployments
from aweigh.deploy.target import Demand, DeployJob, Finding, Need, Rendered, Scale, Target, foreseen
from aweigh.engine.variants import choose_variant, environments_of

_LABEL: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,50}[a-z0-9])?", re.ASCII)
"""A DNS label, with room for what targets put behind it."""
_PLACES: Final = ("region", "project", "resource_group", "workspace", "namespace", "context", "dashboard", "units")
"""Facts that say where a deployment stands."""
_SCALE: Final = re.compile(r"(\d{1,4})(?:\.\.(\d{1,4}))?", re.ASCII)


class DeployOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as a person wrote it."""

    target: str
    out: str = ""
    """Folder to render into; empty: NAME-TARGET in the current one."""
    name: str = ""
    """Of the deployment; empty: the model's, as a DNS label."""
    variant: str = ""
    image: str = ""
    scale: str = ""
    """'2' or '1..5'."""
    load: float = 0.0
    """Requests per second to size for."""
    objective: str = ""
    capacity: str = ""
    """A file that `aweigh bench --find-capacity … --json` wrote."""
    set: tuple[str, ...] = ()
    """The target's own options: 'region=eu-west-1'."""
    apply: bool = False
    force: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What came of it."""

    name: str
    target: str
    folder: Path
    rendered: Rendered
    changed: Sequence[str]
    """Files that are new or other than they were."""
    findings: Sequence[Finding]
    capacity: Capacity
    deployment: Deployment | None = None
    """Where it was applied."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A target, and what it takes by `--set`."""

    name: str
    experimental: str
    install: str = ""
    """The command that installs its libraries, where they are not there: then the rest is not known."""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name -> default, as text; empty where it must be given."""
    choices: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Name -> the values that it takes, where these can be listed."""
    needs: Sequence[str] = ()


def deploy_package(
    settings: Settings, model: str, options: DeployOptions, *, commands: Commands | None = None, progress: Progress = quiet
) -> Deployed:
    """Render `model` for a target into a folder, check it, and apply it where that was asked for.

    Raises ModelNotFound, Unsupported, InvalidInput for options, Conflict for files that a person changed, Refused where a check fails: then nothing is applied.
    """
    target = _target(options.target)
    package = open_model(settings, model, progress=progress)
    job = _job(settings, package, target, options, progress)
    records = _records(settings)
    earlier = records.get(job.name, target.name)
    job = dataclasses.replace(job, before=earlier.facts if earlier else {})
    folder = Path(options.out or f"{job.name}-{target.name}")
    rendered = target.render(job)
    ledger = Ledger(name=job.name, target=target.name, model=str(package.reference), digest=package.digest, files={})
    changed = write_folder(folder, rendered.files, ledger, force=options.force)
    findings = target.check(folder, job)
    done = Deployed(
        name=job.name,
        target=target.name,
        folder=folder,
        rendered=rendered,
        changed=changed,
        findings=findings,
        capacity=job.capacity,
    )
    if not options.apply:
        return done
    if wrong := [finding for finding in findings if finding.fatal]:
        raise Refused(f"nothing was applied: {wrong[0].place}: {wrong[0].message}", hint=wrong[0].hint or "mend it, then apply it again")
    return dataclasses.replace(done, deployment=_apply(records, target, folder, job, commands or Commands()))


def _apply(records: Deployments, target: Target, folder: Path, job: DeployJob, commands: Commands) -> Deployment:
    """The record is there before anything is made: what a client that fails midway leaves behind can be taken away."""
    begun = Deployment(
        name=job.name,
        target=target.name,
        model=str(job.package.reference),
        digest=job.package.digest,
        folder=str(folder.resolve()),
        applied_at=_now(),
        image=job.image,
        facts=foreseen(target, folder, job),
        unfinished=True,
    )
    earlier = records.get(job.name, target.name)
    if earlier is not None:
        _check_same_place(earlier, begun)
    records.keep(begun)
    job.progress(f"applying to {target.name}")
    try:
        applied = target.apply(folder, job, commands)
    except (InvalidInput, Unsupported):  # said before anything is made
        records.forget(begun) if earlier is None else records.keep(earlier)
        raise
    facts = {**job.before, **applied.facts}
    record = msgspec.structs.replace(begun, applied_at=_now(), address=applied.address, facts=facts, unfinished=False)
    records.keep(record)
    return record


def _check_same_place(earlier: Deployment, begun: Deployment) -> None:
    """Raise Conflict where the deployment stands elsewhere: its record would be written over, and what runs there be forgotten and paid for."""
    for what in _PLACES:
        there, here = earlier.facts.get(what, ""), begun.facts.get(what, "")
        if there and here and there != here:
            raise Conflict(
                f"{begun.name!r} stands on {begun.target} with {what} {there!r}, and this goes to {here!r}",
                hint=f"take that away first, 'aweigh undeploy {begun.name} --to {begun.target}', or give this one a name of its own by --as",
            )


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def undeploy_package(
    settings: Settings, name: str, *, target: str = "", forget: bool = False, commands: Commands | None = None, progress: Progress = quiet
) -> Deployment:
    """Take away what was applied under a name; with `forget`, only drop the record of it. The rendered files stay.

    Raises NotFound, and what the vendor's client says.
    """
    records = _records(settings)
    found = records.find(name, target)
    if not forget:
        progress(f"removing {found.name} from {found.target}")
        try:
            _target(found.target).remove(found.facts, Path(found.folder), commands or Commands())
        except AweighError as error:
            drop = f"where nothing of it is left: aweigh undeploy {found.name} --to {found.target} --forget"
            error.hint = f"{error.hint}; {drop}" if error.hint else drop
            raise
    records.forget(found)
    return found


def list_deployments(settings: Settings) -> list[Deployment]:
    """What was applied and not taken away. Raises InvalidFile."""
    return _records(settings).all()


def list_targets() -> list[Listed]:
    """Every target, with what it takes, or with how to install what it is missing."""
    listed = []
    for row in plugins("target"):
        if row.missing():
            listed.append(Listed(name=row.name, experimental=row.experimental, install=f"pip install '{row.install}'"))
            continue
        target = _target(row.name)
        fields = msgspec.structs.fields(target.options)
        defaults = {each.name: "" if each.required else str(each.default) for each in fields}
        choices = {each.name: found for each in fields if (found := _choices(each))}
        listed.append(Listed(name=row.name, options=defaults, choices=choices, needs=sorted(target.needs), experimental=row.experimental))
    return listed


def deployment_name(text: str) -> str:
    """A model's name as a DNS label. Raises InvalidName where a person gave one that is none."""
    if not _LABEL.fullmatch(text):
        hint = "use lower-case letters, digits and '-', a letter first, 52 characters at most"
        raise InvalidName(f"{text[:80]!r} is not the name of a deployment", hint=hint)
    return text


def _records(settings: Settings) -> Deployments:
    return Deployments(settings.home_folder / "deployments")


def _target(name: str) -> Target:
    return cast("type[Target]", load("target", name))()


def _job(settings: Settings, package: PackageHandle, target: Target, options: DeployOptions, progress: Progress) -> DeployJob:
    variant = choose_variant(package.manifest, options.variant, environments=environments_of(settings))
    if Need.IMAGE in target.needs and not options.image:
        model = package.reference
        raise InvalidInput(
            f"target '{target.name}' needs the address of an image, which its machines pull",
            hint=f"make and send one: 'aweigh image {model} --to registry.example/team/{model.name}', then give --image ADDRESS@DIGEST",
        )
    if not 0 <= options.load < math.inf:
        raise InvalidInput(f"a load of {options.load:g} requests/s", hint="say --load with the requests per second when most is asked")
    capacity = measured(Path(options.capacity), package, variant) if options.capacity else reckoned(package, variant)
    demand = Demand(requests_per_second=options.load, objective=parse_objective(options.objective) if options.objective else None)
    return DeployJob(
        name=deployment_name(options.name) if options.name else _label_of(str(package.reference.name)),
        package=package,
        variant=variant,
        variant_asked=bool(options.variant),
        options=_own_options(target, options.set),
        capacity=capacity,
        image=options.image,
        scale=_scale(options.scale, capacity, demand),
        demand=demand,
        settings=settings,
        cache=settings.home_folder / "cache",
        progress=progress,
    )


def _label_of(model: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", model).strip("-")
    label = label if label[0].isalpha() else f"m-{label}"
    return deployment_name(label[:52].rstrip("-"))


def _scale(text: str, capacity: Capacity, demand: Demand) -> Scale:
    """As it was said; else what the load takes, twice at the most; else one."""
    if not text:
        if not demand.requests_per_second:
            return Scale()
        least = capacity.cores(demand.requests_per_second)
        return Scale(least=least, most=2 * least)
    found = _SCALE.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{text[:40]!r} is not a number of replicas", hint="say '2', or '1..5' for as many as are needed between these")
    least = int(found[1])
    most = int(found[2] or found[1])
    if most < max(least, 1):
        raise InvalidInput(f"{text!r}: at most {most} where at least {max(least, 1)} are to run", hint="say '1..5'")
    return Scale(least=least, most=most)


def _own_options(target: Target, given: Sequence[str]) -> msgspec.Struct:
    """The target's options of `KEY=VALUE`s. Raises InvalidInput, naming the nearest key or what a value must be."""
    known = {each.name: each for each in msgspec.structs.fields(target.options)}
    values: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        name = key.replace("-", "_")
        if not equals and name in known:
            raise InvalidInput(f"{text[:80]!r} is not KEY=VALUE", hint=f"write {name}=VALUE: {_takes(known[name])}")
        if not equals or name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"it takes: {', '.join(known) or 'none'}"
            raise InvalidInput(
                f"target '{target.name}' has no option {key[:80]!r}" if equals else f"{text[:80]!r} is not KEY=VALUE", hint=hint
            )
        try:
            values[name] = msgspec.convert(value, known[name].type, strict=False)
        except msgspec.ValidationError as error:
            said = f"target '{target.name}': {name}={value[:80]!r} is not what the option takes"
            raise InvalidInput(said, hint=f"write {name}=VALUE: {_takes(known[name])}") from error
    for name, field in known.items():
        if field.required and name not in values:
            raise InvalidInput(f"target '{target.name}' needs the option '{name}'", hint=f"say --set {name}=VALUE")
    try:
        return msgspec.convert(values, target.options, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"an option of target '{target.name}' does not fit: {error}", hint="`aweigh deploy --list` shows what each takes"
        ) from error


def _takes(field: msgspec.structs.FieldInfo) -> str:
    """What values an option takes, for people."""
    kind, examples = _kind(field)
    shown = field.default if isinstance(field.default, str | int | float) and field.default else next(iter(examples), "")
    example = f" such as {shown}" if shown else ""
    match kind:
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {', '.join(str(value) for value in values)}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=least, le=most):
            between = f" of at least {least}" if most is None else f" between {least} and {most}"
            return f"a whole number{'' if least is None else between}{example}"
        case msgspec.inspect.FloatType():
            return f"a number{example}"
        case _:
            return f"a text{example}"


def _kind(field: msgspec.structs.FieldInfo) -> tuple[msgspec.inspect.Type, Sequence[object]]:
    """What an option's values are, and examples where its type has some."""
    kind = msgspec.inspect.type_info(field.type)
    if isinstance(kind, msgspec.inspect.Metadata):
        return kind.type, (kind.extra_json_schema or {}).get("examples", ())
    return kind, ()


def _choices(field: msgspec.structs.FieldInfo) -> list[str]:
    kind, _ = _kind(field)
    return [str(value) for value in kind.values] if isinstance(kind, msgspec.inspect.LiteralType) else []

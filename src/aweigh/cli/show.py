"""`aweigh show`: one package in full, or as far as a person wants to read: signature, variants, evidence, golden set, origin."""

from collections.abc import Sequence

import click

from aweigh.app.packages import graph_of, show_package, variant_here
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, size_text
from aweigh.cli.pipeline_text import Drawn, graph_lines, microseconds
from aweigh.core.evidence import Check, Evidence
from aweigh.core.package import PackageManifest, Provenance, Variant
from aweigh.core.pipeline import Graph, takes
from aweigh.core.signature import Column, Signature, TensorSpec

SHOWN_LABELS = 20


@click.command("show")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@common_options()
def command(run: Run, model: str) -> None:
    """Show a package: signature, variants with their evidence, golden set and origin."""
    package, aliases = show_package(run.settings, model)
    graph = graph_of(package)
    chosen, why = variant_here(run.settings, package)
    document = {
        "model": str(package.reference),
        "digest": package.digest,
        "aliases": aliases,
        "size_bytes": package.size_bytes,
        "answers_here": {"variant": chosen, "why": why},
        "manifest": package.manifest,
        **({"pipeline": graph} if graph is not None else {}),
    }

    def draw() -> None:
        out = run.output
        out.text(f"{package.reference}  {package.digest}")
        facts = [package.manifest.signature.task.value, size_text(package.size_bytes), *(f"@{alias}" for alias in aliases)]
        facts += ["contains a pickle"] if package.manifest.contains_pickle else []
        out.text(", ".join(facts))
        if package.manifest.description:
            out.text(package.manifest.description)
        if graph is not None:
            draw_graph(out, graph, package.manifest)
        draw_signature(out, package.manifest.signature)
        draw_variants(out, package.manifest)
        out.text("", f"answers here: {chosen}, {why}" if chosen else f"none can answer here: {why}")
        draw_golden(out, package.manifest)
        draw_origin(out, package.manifest.provenance)

    run.output.show(document, draw)


def draw_graph(out: Output, graph: Graph, manifest: PackageManifest) -> None:
    """The steps of a pipeline, with what each took for one row when it was packed."""
    evidence = manifest.variants[0].evidence
    times = evidence.figures if evidence is not None else {}
    steps = {step.name: step for step in graph.steps}
    drawn = [
        Drawn(
            name=step.name,
            runs=step.runs,
            takes=takes(step, steps),
            rows=step.rows,
            note=microseconds(times[f"step_us_{step.name}"]) if f"step_us_{step.name}" in times else "",
        )
        for step in graph.steps
    ]
    out.text(
        "",
        "steps, and what each took for one row when it was packed",
        *graph_lines(drawn, [(each.name, each.source) for each in graph.outputs]),
    )


def draw_signature(out: Output, signature: Signature) -> None:
    """What the model takes and gives."""
    specs = [("input", spec) for spec in signature.inputs] + [("output", spec) for spec in signature.outputs]
    rows: list[tuple[object, ...]] = [(direction, spec.name, spec.datatype.value, _shape(spec), spec.role) for direction, spec in specs]
    columns: tuple[str, ...] = ("side", "name", "datatype", "shape", "role")
    if any(spec.padding is not None for spec in signature.inputs):
        columns = (*columns, "padded with")
        rows = [(*row, "" if spec.padding is None else repr(spec.padding)) for row, (_, spec) in zip(rows, specs, strict=True)]
    _section(out, "signature", columns, rows)
    if signature.columns:
        _section(out, "columns", ("name", "kind", "missing", "categories"), [_column(column) for column in signature.columns])
    if signature.labels:
        more = "" if len(signature.labels) <= SHOWN_LABELS else f", … ({len(signature.labels)} in all)"
        out.text("", "labels: " + ", ".join(str(label) for label in signature.labels[:SHOWN_LABELS]) + more)


def draw_variants(out: Output, manifest: PackageManifest) -> None:
    """Every runnable form, and the evidence of each."""
    sizes = {file.path: file.size_bytes for file in manifest.files}
    rows = [_variant(variant, sum(sizes.get(file, 0) for file in variant.files)) for variant in manifest.variants]
    _section(out, "variants", ("name", "runtime", "precision", "verdict", "proof", "batching", "size"), rows)
    for variant in manifest.variants:
        if variant.departure is not None:
            departs = variant.departure
            out.text("", f"variant {variant.name} departs from '{departs.base}', keeping '{departs.keep}': {', '.join(departs.passes)}")
        if variant.passes:
            out.text("", f"variant {variant.name} was made of '{variant.base}': {', '.join(variant.passes)}")
        if variant.evidence is not None:
            draw_evidence(out, variant.name, variant.evidence)


def draw_evidence(out: Output, name: str, evidence: Evidence) -> None:
    """The checks of one variant with their figures, the inputs that fared worst, and what was measured."""
    machine = evidence.machine
    out.text("", f"evidence of variant {name}: {evidence.data}")
    out.text(f"made {evidence.made_at} on {machine.processor}, {machine.cores} cores, {machine.system} {machine.architecture}")
    out.text(*(f"repair: {repair}" for repair in evidence.repairs))
    rows = [(check.name, "passed" if check.passed else "FAILED", _figures(check), check.note) for check in evidence.checks]
    _section(out, "", ("check", "verdict", "figures (limit)", "note"), rows)
    worst = [(check.name, item) for check in evidence.checks for item in check.worst]
    if worst:
        cells = [(check, f"{item.case}[{item.row}]", item.output, item.inputs, item.expected, item.actual) for check, item in worst]
        _section(out, "inputs that strayed furthest", ("check", "row", "output", "inputs", "expected", "given"), cells)
    if evidence.figures:
        _section(out, "measured", ("figure", "value"), list(evidence.figures.items()))


def draw_golden(out: Output, manifest: PackageManifest) -> None:
    """The inputs whose answers the source model gave itself."""
    _section(out, "golden set", ("case", "rows", "why"), [(case.name, case.rows, case.why) for case in manifest.golden])


def draw_origin(out: Output, provenance: Provenance) -> None:
    """Where the package came from."""
    facts = {
        "framework": provenance.framework,
        "class": provenance.source_class,
        "file": provenance.source_file,
        "digest": provenance.source_digest,
        "versions": ", ".join(f"{library} {version}" for library, version in provenance.versions.items()),
        "git commit": provenance.git_commit,
        "command": provenance.command,
        "machine": provenance.machine,
        "packed at": provenance.packed_at,
        "trusted pickle": "yes" if provenance.trusted else "",
    }
    _section(out, "origin", ("fact", "value"), [(name, value) for name, value in facts.items() if value])


def _section(out: Output, title: str, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    out.text("", *([title] if title else []))
    out.table(columns, rows)


def _shape(spec: TensorSpec) -> str:
    return "[" + ", ".join(str(axis) for axis in spec.shape) + "]"


def _column(column: Column) -> tuple[object, ...]:
    shown = ", ".join(column.categories[:SHOWN_LABELS]) + (", …" if len(column.categories) > SHOWN_LABELS else "")
    return (column.name, column.kind.value, "allowed" if column.nullable else "", shown)


def _variant(variant: Variant, size_bytes: int) -> tuple[object, ...]:
    evidence = variant.evidence
    if evidence is None:
        return (variant.name, variant.runtime, variant.precision, "unproven", "", "", size_text(size_bytes))
    verdict = "passed" if evidence.passed else "FAILED"
    batching = "yes" if evidence.batch_invariant else "no"
    return (variant.name, variant.runtime, variant.precision, verdict, evidence.strength.value, batching, size_text(size_bytes))


def _figures(check: Check) -> str:
    shown = []
    for name, value in check.figures.items():
        limit = f" ({check.limits[name]:.4g})" if name in check.limits else ""
        shown.append(f"{name} {'-' if value is None else f'{value:.4g}'}{limit}")
    return ", ".join(shown)

"""ONNX: a model that is judged, described, asked (by onnx's reference evaluator, else by ONNX Runtime without optimisations) and proven.

Found through `core/plugins.py`. The file goes into the package as it is, unless ZipMap or an old opset had to be taken out of it.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Final

import google.protobuf.message
import msgspec
import onnx
import onnx.version_converter

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, ProofFailed
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.edges import GoldenSet, make_golden, make_static_golden
from aweigh.packing.frameworks.onnx_sample import made_tensors, shaped_tensors
from aweigh.packing.frameworks.onnx_signature import describe, with_roles
from aweigh.packing.job import Job, Packed
from aweigh.packing.onnx_checks import check_model, full_check
from aweigh.packing.recognise import Recognised
from aweigh.packing.sample import read_sample
from aweigh.packing.versions import installed, requirements
from aweigh.packing.words import why_failed
from aweigh.runtimes import load_session

_ENTRY: Final = "variants/onnx/model.onnx"
_OLDEST_OPSET: Final = 7
"""ONNX Runtime promises nothing below; older models are lifted."""
_LIFTED_OPSET: Final = 18
_REFERENCE_ROWS: Final = 8
_REFERENCE_LIMIT_S: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """A judged model, its external data by location, and the file it came from."""

    proto: Any
    path: Path | None = None
    external: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Whoever gives the golden answers."""

    session: Session
    words: str


class OnnxFramework:
    """Packs ONNX models."""

    name = "onnx"

    def accepts(self, model: object) -> bool:
        return isinstance(model, onnx.ModelProto)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> OnnxModel:  # ONNX holds no code to trust
        try:
            proto = onnx.load(str(path), load_external_data=False)
        except (google.protobuf.message.DecodeError, ValueError, OSError) as error:
            raise InvalidFile(f"{path.name}: not a readable ONNX model: {error}", hint="export it again") from error
        external = check_model(proto, path.parent)
        full_check(proto, path)
        return OnnxModel(proto=proto, path=path, external=tuple(external))

    def pack(self, job: Job) -> Packed:
        model = job.model if isinstance(job.model, OnnxModel) else _live(job.model)
        files, signature = _prepared(model, job)
        job.progress("reading the sample")
        given, rows, strength, data = _rows(model, signature, job)
        tried: list[str] = []
        for source in _sources(signature, files, rows, tried):
            job.progress(f"asking the source model: {source.words}")
            signature = _learned(signature, source.session, rows)
            golden = _golden(signature, rows, source.session)
            variant, evidence = _proven(golden, files, job, strength, f"{data}; answers by {source.words}")
            if evidence.passed:
                break
            tried.append(f"against {source.words}: {why_failed(evidence)}")
        else:
            raise ProofFailed(
                f"the model does not answer in ONNX Runtime as it does in its source: {'; '.join(tried)}",
                hint="check the model with onnx.reference.ReferenceEvaluator; report it to the exporter",
            )
        asked = source.session
        return Packed(
            signature=golden.signature,
            variants=(msgspec.structs.replace(variant, evidence=msgspec.structs.replace(evidence, repairs=tuple(tried))),),
            files=files,
            golden=golden.stored,
            ask=asked.run,
            framework="onnx",
            source_class=f"{model.proto.producer_name or 'unknown producer'} {model.proto.producer_version}".strip(),
            versions=installed(("onnx", "onnxruntime", "numpy")),
            request_sample=given,
        )


def _live(proto: Any) -> OnnxModel:
    check_model(proto, None)
    full_check(proto, None)
    return OnnxModel(proto=proto)


def _prepared(model: OnnxModel, job: Job) -> tuple[dict[str, Path], Signature]:
    """The files of the variant and the signature as far as the graph tells it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    opset = next((item.version for item in proto.opset_import if item.domain in {"", "ai.onnx"}), _LIFTED_OPSET)
    changed = opset < _OLDEST_OPSET
    if changed:
        try:
            proto = onnx.version_converter.convert_version(proto, _LIFTED_OPSET)
        except (RuntimeError, ValueError) as error:
            raise InvalidFile(f"opset {opset} is too old and cannot be lifted: {error}", hint="export with opset 13 or newer") from error
    description = describe(proto)
    if not changed and not description.changed and model.path is not None:
        entry = model.path
    else:
        entry = job.work / "model.onnx"
        entry.write_bytes(proto.SerializeToString(deterministic=True))
    folder = str(Path(_ENTRY).parent)
    external = {f"{folder}/{location}": model.path.parent / location for location in model.external} if model.path else {}
    return {_ENTRY: entry, **external}, description.signature


def _rows(model: OnnxModel, signature: Signature, job: Job) -> tuple[Mapping[str, Tensor], dict[str, Tensor], Strength, str]:
    """The sample as the person gave it and as the model takes it, and what the proof is worth with it."""
    if job.sample is None:
        made = made_tensors(model.proto, signature)
        return made, made, Strength.WEAK, "rows made from the signature: no sample was given"
    sample = read_sample(job.sample)
    data = f"{sample.rows} rows of {sample.source} and edge rows"
    if job.before is None:
        shaped = shaped_tensors(signature, sample)
        return shaped, shaped, Strength.FULL, data
    given = shaped_tensors(None, sample)
    before = read_sample(job.before(given))
    return given, shaped_tensors(signature, before), Strength.FULL, data


def _sources(signature: Signature, files: Mapping[str, Path], rows: Mapping[str, Tensor], tried: list[str]) -> list[_Source]:
    """Who may answer for the source, best first: the reference evaluator where it can, ONNX Runtime without optimisations."""
    found: list[_Source] = []
    for runtime, words, options in (
        ("reference", "onnx's reference evaluator", {}),
        ("onnxruntime", "ONNX Runtime without optimisations", {"graph_optimization_level": "disabled"}),
    ):
        variant = Variant(name="source", runtime=runtime, precision="native", files=tuple(files), options=options)  # type: ignore[arg-type]  # the literals are of the options' types
        try:
            session = load_session(variant, signature, lambda name: files[name])
            if runtime == "reference":
                _check_speed(session, rows)
            found.append(_Source(session=session, words=words))
        except Exception as error:  # noqa: BLE001  # the evaluator raises anything; the next one answers in its place
            tried.append(f"{words} cannot answer: {str(error)[:200]}")
    if not found:
        raise InvalidFile(f"the model cannot be loaded: {'; '.join(tried)}", hint="check it with onnx.checker and ONNX Runtime")
    return found


def _check_speed(session: Session, rows: Mapping[str, Tensor]) -> None:
    few = {name: tensor[:_REFERENCE_ROWS] if tensor.ndim else tensor for name, tensor in rows.items()}
    started = monotonic()
    session.run(few)
    if monotonic() - started > _REFERENCE_LIMIT_S:
        raise InvalidInput("it is too slow for this model")


def _learned(signature: Signature, session: Session, rows: Mapping[str, Tensor]) -> Signature:
    """The signature with output ranks and batch axes as the model really answers."""
    batched = all(spec.shape and spec.shape[0] == BATCH for spec in signature.inputs)
    try:
        one = session.run({name: tensor[:1] for name, tensor in rows.items()} if batched else _static(signature, rows)[0])
        two = session.run({name: tensor[:2] for name, tensor in rows.items()}) if batched and _count(rows) > 1 else one
    except AweighError as error:
        raise InvalidInput(
            f"the model itself fails on the sample: {error.message}", hint="give a sample as the model takes it, for example an .npz"
        ) from error
    outputs = tuple(
        _output(spec, a, b, batched=batched and _count(rows) > 1) for spec, a, b in zip(signature.outputs, one, two, strict=True)
    )
    named = with_roles(signature.inputs, outputs, signature.labels)
    return msgspec.structs.replace(named, columns=signature.columns)


def _output(spec: TensorSpec, one: Tensor, two: Tensor, *, batched: bool) -> TensorSpec:
    if len(spec.shape) == one.ndim:
        axes = list(spec.shape)
    else:
        axes = [
            int(size) if size == other else f"{spec.name}_axis{at}"
            for at, (size, other) in enumerate(zip(one.shape, two.shape, strict=True))
        ]
    if batched and axes and isinstance(axes[0], str):
        axes[0] = BATCH if one.shape[0] == 1 and two.shape[0] == 2 else f"{spec.name}_axis0"
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=tuple(axes), role=spec.role)


def _golden(signature: Signature, rows: Mapping[str, Tensor], session: Session) -> GoldenSet:
    if signature.batched:
        golden = make_golden(signature, rows, session.run)
        kept = tuple(msgspec.structs.replace(spec, takes_missing=spec.datatype is not Datatype.BYTES) for spec in golden.signature.inputs)
        return dataclasses.replace(golden, signature=msgspec.structs.replace(golden.signature, inputs=kept))
    return make_static_golden(signature, _static(signature, rows), session.run)


def _static(signature: Signature, rows: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Single requests of a model whose first axis is fixed: the sample itself, or its items where it has one axis more or more rows."""
    first = signature.inputs[0]
    tensor = rows[first.name]
    if tensor.ndim == len(first.shape) + 1:
        return [{name: item[at] for name, item in rows.items()} for at in range(min(16, len(tensor)))]
    size = first.shape[0] if first.shape else None
    if isinstance(size, int) and tensor.ndim and len(tensor) > size:
        return [{name: item[at : at + size] for name, item in rows.items()} for at in range(0, min(16, len(tensor) // size) * size, size)]
    return [dict(rows)]


def _count(rows: Mapping[str, Tensor]) -> int:
    return min((len(tensor) for tensor in rows.values() if tensor.ndim), default=1)


def _proven(golden: GoldenSet, files: dict[str, Path], job: Job, strength: Strength, data: str) -> tuple[Variant, Evidence]:
    job.progress("proving")
    floats = [spec.datatype for spec in (*golden.signature.inputs, *golden.signature.outputs) if spec.datatype.is_float]
    variant = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision=floats[0].value.lower() if floats else "native",
        files=tuple(files),
        environment=requirements(("onnxruntime", "numpy")),
    )
    cases = (*golden.stored, *golden.generated)
    return variant, job.prove(variant, golden.signature, cases, lambda name: files[name], strength=strength, data=data)

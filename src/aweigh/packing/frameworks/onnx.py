"""ONNX: a model that is judged, described, asked (by onnx's reference evaluator, else by ONNX Runtime without optimisations) and proven.

Found through `core/plugins.py`. The file goes into the package as it is, unless ZipMap or an old opset had to be taken out of it.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

import google.protobuf.message
import msgspec
import numpy as np
import onnx
import onnx.version_converter

from aweigh.core.errors import InvalidFile, InvalidInput, ProofFailed
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.core.versions import installed, requirements
from aweigh.packing.cause import graph_cause, less_optimised
from aweigh.packing.frameworks.network import Rows, golden_of, learned, other_sizes, read_rows
from aweigh.packing.frameworks.onnx_cases import read_cases, rows_of_cases, with_cases
from aweigh.packing.frameworks.onnx_sample import made_tensors
from aweigh.packing.frameworks.onnx_signature import describe, known_texts
from aweigh.packing.job import Job, Packed
from aweigh.packing.label_order import check_label_order
from aweigh.packing.onnx_checks import check_model, full_check
from aweigh.packing.recognise import Recognised
from aweigh.packing.sample import read_labels
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
        stated = read_cases(job.cases, signature)
        rows = rows_of_cases(stated) if stated and job.sample is None else None
        rows = rows or read_rows(signature, job, lambda: made_tensors(signature, known_texts(model.proto)))
        tried: list[str] = []
        for source in _sources(signature, files, rows.model, tried):
            job.progress(f"asking the source model: {source.words}")
            signature = learned(signature, source.session.run, rows.model)
            golden = golden_of(signature, rows.model, source.session.run)
            sized = other_sizes(golden.signature, rows.model, source.session.run)
            golden = dataclasses.replace(golden, stored=(*golden.stored, *sized))
            golden = with_cases(golden, stated, source.session.run)
            _check_labels(job, golden.signature, rows, source.session)
            data = f"{rows.data}; answers by {source.words}"
            job.progress("proving")
            variant = _variant(golden.signature, files)
            cases = (*golden.stored, *golden.generated)
            prove = partial(job.prove, signature=golden.signature, golden=cases, path=files.__getitem__, strength=rows.strength, data=data)
            evidence = prove(variant)
            if not evidence.passed:
                cause = graph_cause(files[_ENTRY], variant, golden.signature, cases, evidence)
                tried.append(f"against {source.words}: {why_failed(evidence)}{cause}")
                tries = less_optimised(variant, cause, prove)
                for variant, evidence in tries:
                    level = f"ONNX Runtime's optimisations {variant.options['graph_optimization_level']}"
                    tried.append(f"{level}: {'passed' if evidence.passed else why_failed(evidence)}")
            if evidence.passed:
                break
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
            generated=golden.generated,
            ask=asked.run,
            framework="onnx",
            source_class=f"{model.proto.producer_name or 'unknown producer'} {model.proto.producer_version}".strip(),
            versions=installed(("onnx", "onnxruntime", "numpy")),
            request_sample=rows.given,
        )


def _check_labels(job: Job, signature: Signature, rows: Rows, session: Session) -> None:
    """Hold the person's labels against the model's. Raises ProofFailed where their order is another."""
    if job.labels is None or job.sample is None:
        return
    known = read_labels(job.labels, rows=len(next(iter(rows.model.values()))), given_rows=rows.given_rows)
    answers = dict(zip((spec.role for spec in signature.outputs), session.run(rows.model), strict=True))
    if "label" in answers:
        check_label_order(answers["label"], known)
    elif "probability" in answers and signature.labels:
        check_label_order(np.array(signature.labels)[answers["probability"].argmax(axis=1)], known)


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


def _variant(signature: Signature, files: Mapping[str, Path]) -> Variant:
    floats = [spec.datatype for spec in (*signature.inputs, *signature.outputs) if spec.datatype.is_float]
    return Variant(
        name="onnx",
        runtime="onnxruntime",
        precision=floats[0].value.lower() if floats else "native",
        files=tuple(files),
        environment=requirements(("onnxruntime", "numpy")),
    )

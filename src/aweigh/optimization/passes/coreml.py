"""Core ML packages for Apple's devices, from a PyTorch source, by coremltools: converted anywhere, run on macOS alone. So what is made here is checked by its own description, and not proven.

Source: https://apple.github.io/coremltools
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.core.errors import Unsupported
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.core.versions import requirements
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way
from aweigh.optimization.sources import check_source, written

_FORMATS: Final = frozenset({"pt2", "torchscript", "torch", "safetensors"})
_KINDS: Final = {Datatype.FP32: "float32", Datatype.FP64: "float32", Datatype.INT32: "int32", Datatype.INT64: "int32"}
"""How Core ML takes and gives what the package has."""
_MOST_ROWS: Final = 64
_SAID: Final = 300


class CoreMl:
    """An .mlpackage of the kind "mlprogram", in float32 or, as Apple's Neural Engine computes, in FP16."""

    declares = Declaration(
        name="coreml",
        kind=Kind.PRECISION,
        takes=("onnxruntime", "torch"),
        needs=frozenset({Need.SOURCE, Need.CALIBRATION}),
        goals=frozenset({"mobile"}),
        composes=False,
        departs=True,
        elsewhere="macOS",
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_source(job, _FORMATS, "a PyTorch program, or weights with the class that takes them")
        for spec in (*job.signature.inputs, *job.signature.outputs):
            if spec.datatype not in _KINDS:
                raise Unsupported(f"'{spec.name}' is {spec.datatype.value}, which Core ML neither takes nor gives")
        return [Way(name="fp16", choices={"precision": "fp16"}), Way(name="fp32", choices={"precision": "fp32"})]

    def make(self, job: PassJob) -> Made:
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        import coremltools as ct

        found = written(job, "torch", endings=(".pt2", ".pt"))
        precision = str(job.way.choices["precision"])
        traced, names = _traced(next(iter(found.files.values())), job)
        try:
            model = ct.convert(
                traced,
                inputs=[_input(ct, job.signature, name) for name in names],
                outputs=[ct.TensorType(name=spec.name, dtype=_dtype(spec)) for spec in job.signature.outputs],
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
                minimum_deployment_target=ct.target.iOS16,
                skip_model_load=True,
            )
        except Exception as error:  # the converter raises anything
            raise Unsupported(f"coremltools cannot convert it: {type(error).__name__}: {str(error).strip()[:_SAID]}") from error
        place = Path(job.folder) / "model.mlpackage"
        model.save(str(place))
        told = _checked(ct.utils.load_spec(str(place)), job.signature)
        files = sorted((each for each in place.rglob("*") if each.is_file()), key=lambda each: (each.name != "Manifest.json", each))
        return Made(
            runtime="coreml",
            precision=precision,
            files={each.relative_to(job.folder).as_posix(): str(each) for each in files},
            environment=requirements(("coremltools", "numpy")),
            notes=(told, "not run: Core ML predicts on macOS alone; 'aweigh verify' tries it there"),
        )


def _traced(file: Path, job: PassJob) -> tuple[Any, tuple[str, ...]]:
    """The program traced with a few rows, outputs in the signature's order: the converter's best-kept road. With its inputs' names."""
    import torch

    from aweigh.optimization.torch_order import InOrder
    from aweigh.runtimes.torch_program import load_program, to_torch

    torch.set_num_threads(1)
    program = load_program(file)
    rows = input_rows(job)

    few = tuple(to_torch(rows[name][:2]) for name in program.names)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(InOrder(program, [spec.name for spec in job.signature.outputs]), few, check_trace=False)
        if program.kind == "torchscript":  # what was scripted may make dicts, which coremltools has no operation for
            traced = torch.jit.freeze(traced.eval())
            for simplify in (torch._C._jit_pass_inline, torch._C._jit_pass_peephole, torch._C._jit_pass_dce):
                simplify(traced.graph)
    return traced, program.names


def _input(ct: Any, signature: Signature, name: str) -> Any:
    spec = signature.input(name)
    shape = [ct.RangeDim(1, _MOST_ROWS, default=1) if isinstance(axis, str) else axis for axis in spec.shape]
    return ct.TensorType(name=name, shape=tuple(shape), dtype=_dtype(spec))


def _dtype(spec: TensorSpec) -> Any:
    return np.dtype(_KINDS[spec.datatype]).type


def _checked(spec: Any, signature: Signature) -> str:
    """What Core ML's own description says of inputs and outputs, held against the signature. Raises Unsupported where it says otherwise."""
    from coremltools.proto import FeatureTypes_pb2

    kinds = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    said = []
    for what, wanted, described in (
        ("input", signature.inputs, spec.description.input),
        ("output", signature.outputs, spec.description.output),
    ):
        found = {each.name: each.type.multiArrayType for each in described}
        if sorted(found) != sorted(each.name for each in wanted):
            raise Unsupported(
                f"coremltools wrote the {what}s {', '.join(found)} where the package has {', '.join(each.name for each in wanted)}"
            )
        for each in wanted:
            kind = kinds.Name(found[each.name].dataType).lower()
            if kind != _KINDS[each.datatype]:
                raise Unsupported(f"coremltools wrote the {what} '{each.name}' as {kind} where the package has {each.datatype.value}")
            fixed = [axis for axis in each.shape if isinstance(axis, int)]
            shape = list(found[each.name].shape)
            if what == "input" and [size for size, axis in zip(shape, each.shape, strict=True) if isinstance(axis, int)] != fixed:
                raise Unsupported(
                    f"coremltools wrote the {what} '{each.name}' with the sizes {shape} where the package has {list(each.shape)}"
                )
            said.append(f"{what} '{each.name}' {kind}")
    rows = f", 1 to {_MOST_ROWS} rows a call" if any(BATCH in each.shape for each in signature.inputs) else ""
    return f"by its own description: {', '.join(said)}{rows}"

"""ExecuTorch programs for phones, from a PyTorch source, by XNNPACK: as it is, and quantised to INT8. Sizes are fixed at one row, as phones ask; here batches go row by row.

Source: https://docs.pytorch.org/executorch
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from aweigh.core.errors import Unsupported
from aweigh.core.signature import BATCH
from aweigh.core.tensors import Tensor
from aweigh.core.versions import requirements
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way
from aweigh.optimization.sources import check_source, written

_FORMATS: Final = frozenset({"pt2", "torch", "safetensors"})
_TAKES: Final = ("onnxruntime", "torch")
_NEEDS: Final = frozenset({Need.SOURCE, Need.CALIBRATION})
_GOALS: Final = frozenset({"edge", "mobile"})
_ROWS: Final = 100


class Executorch:
    """In float32."""

    declares: ClassVar[Declaration] = Declaration(
        name="executorch", kind=Kind.REWRITE, takes=_TAKES, needs=_NEEDS, goals=_GOALS, composes=False
    )
    precision: ClassVar[str] = "fp32"

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_source(
            job, _FORMATS, "an exported program (.pt2), or weights with the class that takes them (TorchScript cannot be exported again)"
        )
        for spec in job.signature.inputs:
            axis = next((axis for at, axis in enumerate(spec.shape) if isinstance(axis, str) and (at or axis != BATCH)), "")
            if axis:
                raise Unsupported(f"the size '{axis}' of '{spec.name}' is open, and ExecuTorch plans its memory for fixed sizes")
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        found = written(job, "torch", endings=(".pt2",))
        with _quiet():
            data, places = self._program(next(iter(found.files.values())), job)
        file = Path(job.folder) / "model.pte"
        file.write_bytes(data)
        return Made(
            runtime="executorch",
            precision=self.precision,
            files={file.name: str(file)},
            options=dict(places),
            environment=requirements(("executorch", "torch", "numpy")),
            notes=("made for one row: batches are answered row by row",) if job.signature.batched else (),
        )

    def _program(self, source: Path, job: PassJob) -> tuple[bytes, dict[str, int]]:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from aweigh.optimization.torch_order import InOrder
        from aweigh.runtimes.torch_program import load_program

        torch.set_num_threads(1)
        program = load_program(source)
        rows = input_rows(job)
        wanted = {spec.name: at for at, spec in enumerate(job.signature.outputs)}

        single = tuple(_tensor(rows[name][:1] if job.signature.batched else rows[name]) for name in program.names)
        exported = torch.export.export(InOrder(program, list(wanted)), single, strict=False)
        exported = self._quantised(
            exported, single, [[_tensor(rows[name][at : at + 1]) for name in program.names] for at in _some(rows, job)]
        )
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        places = {f"input:{name}": at for at, name in enumerate(program.names)} | {f"output:{name}": at for name, at in wanted.items()}
        return bytes(edge.to_executorch().buffer), places

    def _quantised(self, exported: Any, single: tuple[Any, ...], rows: list[list[Any]]) -> Any:
        """The program as it is to be lowered."""
        return exported


class ExecutorchInt8(Executorch):
    """Weights and activations in INT8, by the ranges of the calibration rows."""

    declares = Declaration(
        name="executorch-int8", kind=Kind.PRECISION, takes=_TAKES, needs=_NEEDS, goals=_GOALS, composes=False, departs=True
    )
    precision = "int8"

    def _quantised(self, exported: Any, single: tuple[Any, ...], rows: list[list[Any]]) -> Any:
        import torch
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        prepared = prepare_pt2e(exported.module(), XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True)))
        for each in rows:
            prepared(*each)
        quantised = torch.export.export(convert_pt2e(prepared), single, strict=False)
        if not any("quantize" in str(node.target) for node in quantised.graph.nodes):
            raise Unsupported("XNNPACK has no INT8 form for any operation of the model")
        return quantised


def _some(rows: dict[str, Tensor], job: PassJob) -> range:
    count = min(len(tensor) for tensor in rows.values())
    return range(min(_ROWS, count)) if job.signature.batched else range(0)


def _tensor(rows: Tensor) -> Any:
    from aweigh.runtimes.torch_program import to_torch

    return to_torch(rows)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the many warnings of exporters."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield

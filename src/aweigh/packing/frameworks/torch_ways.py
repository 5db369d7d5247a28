"""The ways to write a PyTorch model down: ONNX by torch's exporter, ONNX by its older one (TorchScript, branches on data), a program that torch itself runs. Called by `torch.py`."""

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.core.versions import requirements
from aweigh.packing.frameworks.network import Way
from aweigh.packing.frameworks.torch_inputs import Subject, with_axes
from aweigh.packing.frameworks.torch_inside import module_landmarks
from aweigh.packing.frameworks.torch_modes import inference
from aweigh.packing.onnx_wire import opset as opset_of
from aweigh.runtimes.torch_program import to_torch

_ONNX: Final = "variants/onnx/model.onnx"
_OPSET: Final = 18
"""The lowest that torch's exporter writes; asked for a lower one it writes this and says nothing."""
_OLDER_OPSET: Final = 17
_OLDER_OPSETS: Final = range(9, 21)


def ways(
    subject: Subject, signature: Signature, rows: Mapping[str, Tensor], source: Path | None, kept: Way | None = None, opset: int = 0
) -> list[Way]:
    """Best first. `source` is the file the program came from, where it is kept as it is; `kept` the way that comes last, of a module that cannot be written down; `opset` the one that ONNX must
    have, 0 for any."""
    writer = _Writer(subject, signature, rows, source, opset)
    onnx_variant = Variant(
        name="onnx", runtime="onnxruntime", precision=_precision(signature), environment=requirements(("onnxruntime", "numpy"))
    )
    torch_variant = Variant(name="torch", runtime="torch", precision="native", environment=requirements(("torch", "numpy")))
    inside = module_landmarks(subject)
    found = []
    if subject.kind != "torchscript":
        found.append(Way(name="ONNX", write=writer.modern, variant=onnx_variant, inside=inside))
    if subject.kind != "pt2":
        found.append(Way(name="ONNX by the TorchScript exporter", write=writer.older, variant=onnx_variant, inside=inside))
    if subject.kind != "torchscript":
        found.append(Way(name="torch itself, the exported program", write=writer.program, variant=torch_variant, also="torch"))
    if subject.kind != "pt2":
        found.append(Way(name="torch itself, TorchScript", write=writer.script, variant=torch_variant, also="torchscript"))
    return found if kept is None else [*found, kept]


def _precision(signature: Signature) -> str:
    floats = [spec.datatype for spec in (*signature.inputs, *signature.outputs) if spec.datatype.is_float]
    return floats[0].value.lower() if floats else "native"


class _Writer:
    """Traces a model once and writes it in each form."""

    def __init__(self, subject: Subject, signature: Signature, rows: Mapping[str, Tensor], source: Path | None, opset: int) -> None:
        self._subject = subject
        self._source = source
        self._opset = opset
        self._names = list(subject.names)
        self._outputs = [spec.name for spec in signature.outputs]
        self._axes = with_axes(signature)
        self._tensors = [to_torch(rows[name]) for name in subject.names]
        self.exported: Callable[[], Any] = cache(self._exported)
        self.scripted: Callable[[], Any] = cache(self._scripted)

    def modern(self, folder: Path) -> dict[str, Path]:
        wanted = self._opset or _OPSET
        if wanted < _OPSET:
            raise Unsupported(f"torch's exporter writes opset {_OPSET} at the lowest")
        with _quiet(), inference(self._subject.model):
            made = torch.onnx.export(
                self.exported(), (), dynamo=True, input_names=self._names, output_names=self._outputs, opset_version=wanted, verbose=False
            )
        file = folder / "model.onnx"
        made.save(str(file), external_data=False)
        return {_ONNX: self._checked(file, wanted)}

    def older(self, folder: Path) -> dict[str, Path]:
        file = folder / "model.onnx"
        wanted = self._opset or _OLDER_OPSET
        if wanted not in _OLDER_OPSETS:
            raise Unsupported(f"it writes opsets {_OLDER_OPSETS[0]} to {_OLDER_OPSETS[-1]}")
        with _quiet(), inference(self._subject.model):
            torch.onnx.export(
                _without_dict(self.scripted(), self._tensors), tuple(self._tensors), str(file), dynamo=False, opset_version=wanted, input_names=self._names,
                output_names=self._outputs, dynamic_axes=self._axes,
            )  # fmt: skip
        return {_ONNX: self._checked(file, wanted)}

    def _checked(self, file: Path, wanted: int) -> Path:
        """The file, whose opset is the one that was asked for."""
        got = opset_of(file)
        if got != wanted:
            raise Unsupported(f"opset {wanted} was asked for, torch wrote {got}")
        return file

    def program(self, folder: Path) -> dict[str, Path]:
        file = folder / "model.pt2"
        if self._subject.kind == "pt2" and self._source is not None:
            shutil.copyfile(self._source, file)
        else:
            with _quiet():
                torch.export.save(self.exported(), file)
        return {"variants/torch/model.pt2": file}

    def script(self, folder: Path) -> dict[str, Path]:
        file = folder / "model.pt"
        if self._subject.kind == "torchscript" and self._source is not None:
            shutil.copyfile(self._source, file)
        else:
            with _quiet():
                self.scripted().save(str(file))
        return {"variants/torch/model.pt": file}

    def _exported(self) -> Any:
        if self._subject.kind == "pt2":
            return self._subject.model
        arguments = self._subject.arguments(self._tensors)
        dynamic = {name: dict.fromkeys(self._axes[name], torch.export.Dim.AUTO) for name in arguments}
        with _quiet(), inference(self._subject.model):
            return torch.export.export(self._subject.model, (), arguments, dynamic_shapes=dynamic, strict=False)

    def _scripted(self) -> Any:
        """Scripted, which keeps branches on data; traced only where no branch hangs on them."""
        if self._subject.kind == "torchscript":
            return self._subject.model
        with _quiet(), inference(self._subject.model):
            try:
                return torch.jit.script(self._subject.model)
            except Exception as error:  # noqa: BLE001  # scripting raises anything; tracing is the next attempt
                with warnings.catch_warnings():
                    warnings.simplefilter("error", torch.jit.TracerWarning)
                    try:
                        return torch.jit.trace(self._subject.model, example_kwarg_inputs=self._subject.arguments(self._tensors))
                    except torch.jit.TracerWarning as branch:
                        said = str(error).strip().partition("\n")[0][:150]
                        raise Unsupported(f"it cannot be scripted ({said}), and tracing would fix a branch that hangs on data") from branch


class _Listed(torch.nn.Module):  # type: ignore[misc]  # untyped where torch is not installed
    """A program that answers a dict, answering its values."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.program(*tensors).values())


def _without_dict(program: Any, tensors: list[torch.Tensor]) -> Any:
    """The program, or where it answers a dict, which the older exporter cannot write, one in which no dict is made. Its own branches stay."""
    if program.forward.schema.returns[0].type.kind() != "DictType":
        return program
    listed = torch.jit.freeze(torch.jit.trace(_Listed(program), tuple(tensors), check_trace=False).eval())
    for simplify in (torch._C._jit_pass_inline, torch._C._jit_pass_peephole, torch._C._jit_pass_dce):
        simplify(listed.graph)
    return listed


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' many warnings: the proof tells what counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

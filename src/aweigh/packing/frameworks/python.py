"""A Python class with `predict` (and `load`): its folder goes into the package as it is, and runs in a process of its own.

The code is a person's: nothing of it is imported before it is trusted, and then only in the child that packs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InvalidInput, NotTrusted
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.core.versions import installed
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.onnx_sample import shaped_tensors
from aweigh.packing.job import Job, Packed
from aweigh.packing.python_class import class_files
from aweigh.packing.recognise import Recognised
from aweigh.packing.requirements_text import met
from aweigh.packing.sample import read_sample
from aweigh.runtimes.python import CLASS_FILE, FOLDER, FORM, answers, make

_FILE: Final = "requirements.txt"
_FIRST_ROWS: Final = 64


class PythonFramework:
    """Packs folders of Python."""

    name = "python"

    def accepts(self, model: object) -> bool:
        return False  # a live object has no folder to take along

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Path:
        """The folder, unless nobody trusts it. Raises NotTrusted."""
        if not trust:
            raise NotTrusted(
                f"{path.name} holds a {recognised.detail}: packing and serving it runs code of this folder",
                hint="pass --trust if the code is yours",
                format=recognised.format,
            )
        return path

    def pack(self, job: Job) -> Packed:
        root: Path = job.model
        if job.sample is None:
            raise InvalidInput("a Python class needs a sample: its rows show what predict is given", hint="give --sample")
        files = class_files(root)
        needed = _requirements(files)
        sample = read_sample(job.sample)
        form = "array" if sample.form in {"matrix", "text"} else "columns" if sample.form == "frame" else "arrays"
        model = make(root, job.factory)
        rows = {name: tensor[:_FIRST_ROWS] for name, tensor in shaped_tensors(None, sample).items()}
        signature = _signature(rows, answers(model, rows, form), form)
        names = [spec.name for spec in signature.outputs]

        def ask(inputs: Mapping[str, Tensor]) -> list[Tensor]:
            given = answers(model, inputs, form)
            return [given[name] for name in names]

        def write(folder: Path) -> dict[str, Path]:
            entry = folder / CLASS_FILE
            entry.write_text(f"{job.factory}\n", encoding="utf-8")
            return {f"{FOLDER}/{CLASS_FILE}": entry, **{f"{FOLDER}/files/{name}": place for name, place in files.items()}}

        variant = Variant(name="python", runtime="python", precision="native", options={FORM: form}, environment=needed)
        network = Network(
            framework="python",
            signature=signature,
            ask=ask,
            ways=(Way(name="the class itself", write=write, variant=variant),),
            source_class=job.factory,
            versions=installed(("numpy",)),
        )
        return pack_network(job, network)


def _requirements(files: Mapping[str, Path]) -> tuple[str, ...]:
    """What the folder's requirements name, as the exact versions that are here. Raises MissingLibrary, InvalidInput."""
    place = files.get(_FILE)
    if place is None:
        return ()
    return met(place.read_text(encoding="utf-8", errors="replace"), str(place))


def _signature(rows: Mapping[str, Tensor], outputs: Mapping[str, Tensor], form: str) -> Signature:
    count = len(next(iter(rows.values())))
    for name, tensor in outputs.items():
        if tensor.ndim == 0 or len(tensor) != count:
            raise InvalidInput(
                f"predict gave '{name}' of shape {list(tensor.shape)} for {count} rows",
                hint="it must give one row for each row of its input",
            )
    columns = (
        tuple(Column(name=name, kind=_kind(tensor), input=name, nullable=True) for name, tensor in rows.items())
        if form == "columns"
        else ()
    )
    return Signature(inputs=_specs(rows), outputs=_specs(outputs), columns=columns)


def _specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, datatype=datatype_of(np.asarray(tensor)), shape=(BATCH, *map(int, tensor.shape[1:])))
        for name, tensor in tensors.items()
    )


def _kind(tensor: Tensor) -> ColumnKind:
    datatype = datatype_of(tensor)
    if datatype is Datatype.BYTES:
        return ColumnKind.TEXT
    if datatype is Datatype.BOOL:
        return ColumnKind.BOOLEAN
    return ColumnKind.INTEGER if datatype.is_integer else ColumnKind.NUMBER

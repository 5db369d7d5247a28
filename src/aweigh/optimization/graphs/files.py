"""ONNX files of a pass: read whole, wherever the weights lie, and written with the weights beside where one file cannot hold them."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import onnx
from onnx import numpy_helper

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.optimization.passing import PassJob

NAME: Final = "model.onnx"
_ONE_FILE_BYTES: Final = 1_900_000_000
"""A protobuf message ends at 2 GiB."""
_LEAST_CONSTANT: Final = 2
ORT_SUFFIX: Final = ".ort"


def read_graph(job: PassJob) -> Any:
    """The model with its weights in memory, every node named, and without the shapes of inner tensors that its exporter wrote.

    Those shapes turn wrong as soon as a weight is turned round, and shape inference then refuses the whole graph. Raises InvalidFile, Unsupported.
    """
    entry = job.variant.files[0]
    if entry.endswith(ORT_SUFFIX):
        raise Unsupported("the variant is an ORT file, which nothing but ONNX Runtime reads")
    path = job.entry() if len(job.variant.files) == 1 else _together(job)
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx have a dozen of their own
        raise InvalidFile(f"{entry} cannot be read as ONNX: {str(error)[:300]}") from error
    tidy(model)
    return model


def _together(job: PassJob) -> Path:
    """Copies side by side under the package's names: onnx refuses weights that are reached by links."""
    folder = Path(job.folder) / "read"
    root = PurePosixPath(job.variant.files[0]).parent
    for file in job.variant.files:
        place = folder / PurePosixPath(file).relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.files[file], place)
    return folder / PurePosixPath(job.variant.files[0]).name


def tidy(model: Any) -> None:
    """Names for nameless nodes, weights that are no inputs, constants as weights, no inner shapes."""
    graph = model.graph
    del graph.value_info[:]
    weights = {weight.name for weight in graph.initializer}
    kept = [node for node in graph.input if node.name not in weights]
    if len(kept) != len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)
    _constants_to_weights(graph)
    name_nodes(graph)


def name_nodes(graph: Any) -> None:
    """Give every node a name of its own: lists of nodes that stay in float are lists of names."""
    taken: set[str] = set()
    for at, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}.{at}"
        taken.add(node.name)


def _constants_to_weights(graph: Any) -> None:
    """Quantisers look for weights among initializers alone."""
    nodes = []
    for node in graph.node:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None and tensor_bytes(value) >= _LEAST_CONSTANT * 4:
            weight = graph.initializer.add()
            weight.CopyFrom(value)
            weight.name = node.output[0]
        else:
            nodes.append(node)
    if len(nodes) != len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)


def write_graph(model: Any, folder: Path, name: str = NAME) -> dict[str, str]:
    """The files of a model, the entry first, as `Made.files` wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if sum(map(tensor_bytes, model.graph.initializer)) < _ONE_FILE_BYTES:
        onnx.save(model, str(path))
        return {name: str(path)}
    data = f"{name}.data"
    onnx.save(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data, convert_attribute=False)
    return {name: str(path), data: str(folder / data)}


def written(path: Path) -> dict[str, str]:
    """The files that a library wrote: the entry, and the weights beside it."""
    names = dict.fromkeys([path.name, *_external(onnx.load(str(path), load_external_data=False).graph)])
    return {name: str(path.parent / name) for name in names}


def _external(graph: Any) -> Iterator[str]:
    for weight in graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                yield entry.value


def tensor_bytes(tensor: Any) -> int:
    """What a weight takes."""
    return len(tensor.raw_data) or int(tensor.ByteSize())


def weights_of(graph: Any) -> dict[str, Any]:
    """Name -> initializer."""
    return {weight.name: weight for weight in graph.initializer}


def array_of(tensor: Any) -> Any:
    """A weight's numbers."""
    return numpy_helper.to_array(tensor)


def drop_unused(graph: Any, names: Iterable[str]) -> None:
    """Remove those of the weights that nothing reads any more."""
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    gone = set(names) - used
    kept = [weight for weight in graph.initializer if weight.name not in gone]
    if len(kept) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)

"""What a load test asks: made up from the model's metadata, from the rows of a file, or a body as it stands; and what answers must hold."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.app.tables import read_columns
from aweigh.bench import questions as make
from aweigh.bench.address import Address
from aweigh.bench.answers import decode_grpc, decode_json
from aweigh.bench.fetch import fetch
from aweigh.bench.plan import Question
from aweigh.bench.report import Asked
from aweigh.bench.server import ModelFacts, refusal
from aweigh.client.frames import signature_of
from aweigh.client.values import ModelMetadata
from aweigh.core.arrays import UNNAMED, cast_exactly, read_arrays
from aweigh.core.errors import AweighError, FileMissing, InvalidFile, InvalidInput, Unsupported
from aweigh.core.frames import rows_of_columns, tensors_of_columns
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor

ALONE: Final = "alone"
PROBES: Final = 16
"""Questions asked once before the load; all of them where their answers are what is expected."""
_KINDS: Final = {
    "number": Datatype.FP64,
    "integer": Datatype.INT64,
    "boolean": Datatype.BOOL,
    "category": Datatype.BYTES,
    "text": Datatype.BYTES,
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said about the requests."""

    data: str = ""
    body: str = ""
    content_type: str = ""
    expect: str = ""
    """A file, or `alone`: as answered before the load, one at a time."""
    binary: bool = False
    rows: int = 1
    seed: int = 0


def make_questions(address: Address, facts: ModelFacts, wanted: Wanted) -> tuple[list[Question], str]:
    """The requests, and where they come from in words. Raises InvalidInput, FileMissing, Unsupported."""
    if wanted.body:
        content_type = wanted.content_type or ("application/json" if wanted.body.endswith(".json") else "application/octet-stream")
        headers = () if address.target.protocol == "grpc" else (("content-type", content_type),)
        return [Question(body=_read(wanted.body), headers=headers)], f"the body in {wanted.body}"
    if address.dialect == "raw":
        raise InvalidInput(
            f"{address.target.path} is no route of a dialect that aweigh knows",
            hint="give the body to send with --body FILE --content-type TYPE, or the URL of a model: …/v2/models/NAME, …/predict/NAME",
        )
    if address.dialect == "predict":
        return _row_questions(facts, wanted)
    return _tensor_questions(address, facts, wanted)


def _tensor_questions(address: Address, facts: ModelFacts, wanted: Wanted) -> tuple[list[Question], str]:
    if wanted.data:
        signature = signature_of(msgspec.convert(msgspec.to_builtins(facts), ModelMetadata))
        datatypes = {spec.name: spec.datatype for spec in signature.inputs}
        requests = make.slices(_tensors(Path(wanted.data), signature), datatypes, wanted.rows)
        source = f"{wanted.data}, {wanted.rows} rows a request" if wanted.rows > 1 else f"{wanted.data}, row by row"
    else:
        requests = make.made_up_tensors(facts.inputs, rows=wanted.rows, seed=wanted.seed)
        source = "made up from the model's metadata"
    if address.dialect == "open-inference-grpc":
        return [make.grpc_question(request, address.model, address.version) for request in requests], source
    return [(make.binary_question if wanted.binary else make.rest_question)(request) for request in requests], source


def _row_questions(facts: ModelFacts, wanted: Wanted) -> tuple[list[Question], str]:
    if not wanted.data:
        requests = make.made_up_rows(facts.columns, rows=wanted.rows, seed=wanted.seed)
        return [make.rows_question(rows) for rows in requests], "made up from the model's columns"
    columns = read_columns(Path(wanted.data), _rows_signature(facts))
    rows = [
        {name: _plain(value) for name, value in row.items()}
        for row in rows_of_columns({name: list(values) for name, values in columns.items()})
    ]
    if len(rows) < wanted.rows:
        raise InvalidInput(
            f"{wanted.data} has {len(rows)} rows, fewer than the {wanted.rows} of one request", hint="give more, or fewer --rows"
        )
    starts = range(0, len(rows) - wanted.rows + 1, wanted.rows)[: make.MOST]
    return [make.rows_question(rows[at : at + wanted.rows]) for at in starts], f"the rows of {wanted.data}"


def _tensors(path: Path, signature: Signature) -> dict[str, Tensor]:
    """A file's rows as tensors; arrays of a .npz that are named like the inputs are taken as they are, of any rank."""
    if path.suffix.lower() == ".npz" and path.is_file():
        arrays = read_arrays(path)
        if {spec.name for spec in signature.inputs} <= set(arrays):
            return {spec.name: cast_exactly(arrays[spec.name], spec.datatype.dtype, spec.name) for spec in signature.inputs}
    return tensors_of_columns(read_columns(path, signature), signature)


def _rows_signature(facts: ModelFacts) -> Signature:
    """As much of a signature as the columns tell: one input per column."""
    columns = tuple(
        Column(name=found.name, kind=ColumnKind(found.kind), input=found.name, categories=found.categories, nullable=found.nullable)
        for found in facts.columns
    )
    inputs = tuple(TensorSpec(name=found.name, datatype=_KINDS[found.kind], shape=(BATCH,)) for found in facts.columns)
    return Signature(inputs=inputs, outputs=(), columns=columns)


def _plain(value: object) -> object:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and value != value else value


def probe(
    address: Address, questions: Sequence[Question], source: str, wanted: Wanted, *, timeout_s: float
) -> tuple[list[Question], Asked]:
    """Ask before the load, one at a time: a request that is refused would make a fast and empty test. Puts what is expected into the questions."""
    count = len(questions) if wanted.expect == ALONE else min(PROBES, len(questions))
    answers = []
    for question in questions[:count]:
        answer = fetch(address.target, question, timeout_s=timeout_s)
        if not answer.ok:
            raise _refused(refusal(answer, "the first requests were refused"), wanted)
        answers.append(answer.body)
    decode = decode_grpc if address.target.protocol == "grpc" else decode_json
    expected = _expected(wanted, len(questions), [decode(body) for body in answers] if wanted.expect == ALONE else [])
    checked = "" if not wanted.expect else "the same requests' answers before the load" if wanted.expect == ALONE else wanted.expect
    known = answers if wanted.expect == ALONE else [b""] * len(questions)
    made = [
        msgspec.structs.replace(question, expected=text, known=body)
        for question, text, body in zip(questions, expected, known, strict=True)
    ]
    return made, Asked(requests=len(made), source=source, body_bytes=max(len(question.body) for question in made), checked=checked)


def _refused(error: AweighError, wanted: Wanted) -> AweighError:
    if not (wanted.data or wanted.body) and isinstance(error, InvalidInput | Unsupported):
        error.hint = f"{error.hint}; these requests were made up: give real rows with --data FILE".lstrip("; ")
    return error


def _expected(wanted: Wanted, count: int, answers: list[Any]) -> list[bytes]:
    if not wanted.expect:
        return [b""] * count
    if wanted.expect == ALONE:
        return [json.dumps(_without_id(answer)).encode() for answer in answers]
    path = Path(wanted.expect)
    if path.suffix.lower() == ".npz":
        return _expected_arrays(path, count, wanted.rows)
    try:
        found = json.loads(_read(wanted.expect))
    except ValueError as error:
        raise InvalidFile(f"{path} is not JSON: {error}", hint="--expect takes .json, .npz or 'alone'") from error
    documents = found if isinstance(found, list) else [found] * count
    if len(documents) != count:
        raise InvalidInput(f"{path} holds {len(documents)} answers, and there are {count} different requests")
    return [json.dumps(document).encode() for document in documents]


def _expected_arrays(path: Path, count: int, rows: int) -> list[bytes]:
    if not path.is_file():
        raise FileMissing(f"there is no file {path}", hint="check --expect")
    arrays = read_arrays(path)
    if UNNAMED in arrays:
        raise InvalidInput(f"{path} holds one array without a name", hint="save the answers by the names of the outputs with numpy.savez")
    for name, array in arrays.items():
        held = len(array) if array.ndim else 0
        if held < count * rows:
            raise InvalidInput(f"{path}: output '{name}' has {held} rows, and {count * rows} are asked for")
    return [
        json.dumps(
            {"outputs": [{"name": name, "data": array[at * rows : (at + 1) * rows].ravel().tolist()} for name, array in arrays.items()]}
        ).encode()
        for at in range(count)
    ]


def _without_id(answer: Any) -> Any:
    return {name: value for name, value in answer.items() if name not in {"id", "request_id"}} if isinstance(answer, dict) else answer


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileMissing(f"there is no file {path}", hint="check the path") from error
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror}") from error

"""Whatever bytes come, only an AweighError goes out, and what is read is written the same."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aweigh.core.errors import InvalidFile, InvalidInput, InvalidName, InvalidSetting, Unsupported
from aweigh.core.names import model_name, package_path, parse_reference, suggest_name
from aweigh.core.package import decode_manifest, encode_manifest
from aweigh.core.settings import read_settings
from aweigh.core.tensorfile import MAGIC, read_tensors, write_tensors
from aweigh.core.tensors import DTYPES, Datatype, from_raw, to_raw

SAMPLE = (Path(__file__).parents[2] / "data/formats/aweigh-1.json").read_bytes()
QUICK = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NUMERIC = [datatype for datatype in Datatype if datatype is not Datatype.BYTES]
AXES = st.lists(st.one_of(st.integers(0, 4), st.integers(-3, 2**70)), max_size=5).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@QUICK
@given(raw=st.binary(max_size=64), datatype=st.sampled_from(list(Datatype)), shape=AXES)
def test_raw_tensors(raw, datatype, shape):
    try:
        tensor = from_raw(raw, datatype, shape, name="x")
    except InvalidInput:
        return
    assert tensor.shape == shape
    if datatype is not Datatype.BF16:  # a signalling NaN comes back quiet
        assert to_raw(tensor, datatype) == raw


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Datatype, np.ndarray]:
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if datatype is not Datatype.BYTES:
        return datatype, draw(arrays.arrays(DTYPES[datatype], shape))
    texts = st.none() | (st.binary(max_size=5) if draw(st.booleans()) else st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    items = draw(st.lists(texts, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    flat = np.empty(len(items), dtype=object)
    flat[:] = items
    return datatype, flat.reshape(shape)


@QUICK
@given(named=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), tensors(), max_size=3))
def test_tensor_files_round_trip(named):
    data = write_tensors(named)
    back = read_tensors(data, place="here")
    assert write_tensors(back) == data
    for name, (datatype, tensor) in named.items():
        assert back[name][0] is datatype
        assert back[name][1].shape == tensor.shape
        if datatype is Datatype.BYTES:
            assert back[name][1].tolist() == tensor.tolist()
        elif datatype is not Datatype.BF16:
            assert back[name][1].tobytes() == tensor.tobytes()


@QUICK
@given(
    data=st.data(), named=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), tensors(), min_size=1, max_size=2)
)
def test_damaged_tensor_files(data, named):
    content = bytearray(write_tensors(named))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidFile):
        read_tensors(bytes(content), place="here")


@QUICK
@given(header=st.lists(st.fixed_dictionaries({"name": st.text(max_size=3), "datatype": st.sampled_from(list(Datatype)), "shape": AXES, "size_bytes": st.integers(-8, 40)},
    optional={"missing": st.lists(st.integers(-3, 9), max_size=3), "text": st.booleans()}), max_size=3), body=st.binary(max_size=40))  # fmt: skip
def test_tensor_files_with_lying_headers(header, body):
    text = json.dumps(header).encode()
    with contextlib.suppress(InvalidFile):
        read_tensors(MAGIC + len(text).to_bytes(8, "little") + text + body, place="here")


@QUICK
@given(data=st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_manifests_from_nowhere(data):
    with pytest.raises((InvalidFile, Unsupported)):
        decode_manifest(data)


@QUICK
@given(data=st.data())
def test_manifests_with_one_value_changed(data):
    document = json.loads(SAMPLE)
    at: object = document
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(JSON)
        break
    try:
        manifest = decode_manifest(json.dumps(document).encode())
    except (InvalidFile, Unsupported):
        return
    assert decode_manifest(encode_manifest(manifest)) == manifest


@QUICK
@given(data=st.data())
def test_manifests_with_bytes_changed(data):
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidFile, Unsupported):
        decode_manifest(bytes(content))


@QUICK
@given(text=st.text(max_size=80))
def test_names(text):
    suggested = suggest_name(text)
    assert model_name(suggested) == suggested
    for check in (model_name, parse_reference, package_path):
        try:
            assert str(check(text)) == text
        except InvalidName:
            continue


@QUICK
@given(
    values=st.dictionaries(
        st.sampled_from(["PORT", "THREADS", "NO_AUTH", "EXECUTOR", "REQUEST_TIMEOUT_S", "HOME", "X"]), st.text(max_size=12), max_size=4
    )
)
def test_settings_from_the_environment(values):
    environment = {"AWEIGH_HOME": "/nonexistent", **{f"AWEIGH_{name}": value for name, value in values.items()}}
    with contextlib.suppress(InvalidSetting):
        read_settings({}, environment=environment)

"""A2, pickles in every wrapping: told by content whatever the file is called, refused before anything of them runs and before an environment is made to read them.

The payload makes a folder where it is unpickled, evaluated or called; the folder stays absent. What torch itself makes of such files is tested in tests/frameworks.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import aweigh
from aweigh.core.errors import AweighError, InvalidFile, NotTrusted, UnknownFormat
from aweigh.packing.child import Accused, judge_in_child
from aweigh.packing.choose import judge
from aweigh.packing.recognise import recognise
from aweigh.packing.sample import read_labels, read_sample

Make = Callable[[Path], bytes]
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
TREE = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self._sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._sentinel),)


def call(sentinel: Path) -> str:
    """The same as an expression."""
    return f'__import__("os").mkdir("{sentinel}")'


def zipped(members: Mapping[str, bytes], top: str = "archive/") -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{top}{name}", data)
    return found.getvalue()


def saved(data: bytes, **more: bytes) -> bytes:
    """As torch.save writes it."""
    return zipped({"data.pkl": data, "version": b"3\n", "byteorder": b"little", **more})


def legacy(*pickles: object) -> bytes:
    """As torch.save wrote it before 1.6."""
    return b"".join(pickle.dumps(each, protocol=2) for each in (LEGACY_MAGIC, 1001, {"little_endian": True}, *pickles))


def tarred(data: bytes) -> bytes:
    """As torch.save wrote it before 0.1.10."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        info = tarfile.TarInfo("pickle")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return found.getvalue()


def exported(change: Callable[[dict[str, Any], dict[str, bytes]], object]) -> bytes:
    """As torch.export.save writes it, with something changed in the program or among the members."""
    node = {"target": "torch.ops.aten.relu.default", "name": "relu", "metadata": {}}
    document: dict[str, Any] = {
        "graph_module": {
            "graph": {"nodes": [node], "sym_int_values": {"a": {"as_expr": {"expr_str": "Symbol('s0')"}}}},
            "module_call_graph": [{"signature": {"in_spec": TREE}}],
        },
        "range_constraints": {"s0": {"min_val": 2}},
        "guards_code": ["L['x'].size()[0] <= 1024"],
    }
    members = {
        "archive_format": b"pt2",
        "byteorder": b"little",
        "data/weights/model_weights_config.json": b'{"config": {"w": {"path_name": "weight_0", "use_pickle": false}}}',
        "data/weights/weight_0": b"1234",
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "data/sample_inputs/model.pt": saved(pickle.dumps({}, protocol=2)),
    }
    change(document, members)
    return zipped({"models/model.json": json.dumps(document).encode(), **members}, "model/")


def member(name: str, data: bytes) -> bytes:
    return exported(lambda _, members: members.__setitem__(name, data))


def scripted(name: str = "version", data: bytes = b"3\n") -> bytes:
    """As torch.jit.save writes it, with one member changed."""
    empty = pickle.dumps((), protocol=2)
    code = b"def forward(self, x: Tensor) -> Tensor:\n  return x\n"
    return zipped({"data.pkl": empty, "constants.pkl": empty, "code/__torch__/m.py": code, name: data}, "m/")


def bomb(sentinel: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"weight": Bomb(sentinel)}, protocol=protocol)


def in_lz4(data: bytes) -> bytes:
    """A frame of one block that is stored as it is."""
    return bytes.fromhex("04224d18604082") + (len(data) | 1 << 31).to_bytes(4, "little") + data + bytes(4)


def dumped(sentinel: Path, compress: object) -> bytes:
    found = io.BytesIO()
    joblib.dump(Bomb(sentinel), found, compress=compress)
    return found.getvalue()


def array(sentinel: Path) -> bytes:
    found = io.BytesIO()
    np.save(found, np.array([Bomb(sentinel)], dtype=object), allow_pickle=True)
    return found.getvalue()


def arrays(sentinel: Path) -> bytes:
    found = io.BytesIO()
    np.savez(found, x=np.array([Bomb(sentinel)], dtype=object))
    return found.getvalue()


PICKLES: dict[str, Make] = {
    "weights.pt": lambda s: saved(bomb(s)),
    "protocol-4.pth": lambda s: saved(bomb(s, 4)),
    "deeper.pt": lambda s: zipped({"a/data.pkl": bomb(s), "data.pkl": pickle.dumps({}, protocol=2)}),
    "legacy.pt": lambda s: legacy({"weight": Bomb(s)}, []),
    "legacy-storages.pth": lambda s: legacy({}, [Bomb(s)]),
    "cut.pt": lambda s: saved(bomb(s)[:-1]),
    "renamed.bin": lambda s: saved(bomb(s)),
    "renamed.onnx": lambda s: bomb(s),
    "plain.bin": lambda s: bomb(s, 5),
    "text.safetensors": lambda s: bomb(s, 0),
    "model.joblib": lambda s: dumped(s, 0),
    "gzip.joblib": lambda s: dumped(s, ("gzip", 3)),
    "zlib.pkl": lambda s: zlib.compress(bomb(s)),
    "gzip.onnx": lambda s: gzip.compress(bomb(s)),
    "bz2.bin": lambda s: bz2.compress(bomb(s)),
    "xz.joblib": lambda s: lzma.compress(bomb(s)),
    "lzma.joblib": lambda s: dumped(s, ("lzma", 3)),
    "lz4.joblib": lambda s: in_lz4(bomb(s)),
}  # fmt: skip
"""Files that a person could trust, and did not."""
PROGRAMS: dict[str, Make] = {
    "sample-inputs.pt2": lambda s: member("data/sample_inputs/model.pt", saved(bomb(s))),
    "weights.pt2": lambda s: member("data/weights/model_weights_config.json", b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'),
    "constants.pt2": lambda s: member("data/constants/model_constants_config.json", b'{"config": {"c": {"path_name": "c", "use_pickle": true}}}'),
    "object.pt2": lambda s: member("data/constants/custom_obj_0", bomb(s)),
    "library.pt2": lambda s: member("data/aotinductor/model/wrapper.so", b"\x7fELF"),
    "size.pt2": lambda s: exported(lambda program, _: program["graph_module"]["graph"]["sym_int_values"]["a"]["as_expr"].update(expr_str=call(s))),
    "range.pt2": lambda s: exported(lambda program, _: program.update(range_constraints={call(s): {}})),
    "guard.pt2": lambda s: exported(lambda program, _: program.update(guards_code=[call(s)])),
    "operator.pt2": lambda s: exported(lambda program, _: program["graph_module"]["graph"]["nodes"][0].update(target="os.system")),
    "tree.pt2": lambda s: exported(
        lambda program, _: program["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=TREE.replace("builtins.tuple", "os.system"))
    ),
    "tensor-called-metadata.pt2": lambda s: exported(
        lambda program, _: program["graph_module"]["graph"].update(
            tensor_values={"metadata": {"sizes": [{"as_expr": {"expr_str": f"{call(s)} + Symbol('s0')"}}]}}
        )
    ),
    "arguments.pt2": lambda s: exported(
        lambda program, _: program["graph_module"]["module_call_graph"][0]["signature"].update(forward_arg_names=["x", f"y={call(s)}"])
    ),
    "enum.pt2": lambda s: exported(
        lambda program, _: program["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec=TREE.replace('"null"', json.dumps('[{"\\u005f_enum__": true, "fqn": "os:x", "name": "x"}]'))
        )
    ),
    "weight.pt2": lambda s: exported(
        lambda program, _: program["graph_module"].update(
            signature={"input_specs": [{"buffer": {"arg": {"name": "b"}, "buffer_name": f'x") or {call(s)} or ("'}}]}
        )
    ),
    "script.pt": lambda s: scripted("data.pkl", bomb(s)),
    "script-constants.pt": lambda s: scripted("constants.pkl", bomb(s)),
    "script-writes.pt": lambda s: scripted("code/__torch__/m.py", b"torch.save(x, 'sentinel')"),
    "script-reads.pt": lambda s: scripted("code/__torch__/m.py", b"x = torch.from_file('/etc/passwd')"),
    "script-reads-by-name.pt": lambda s: scripted("code/__torch__/m.py", b'x = getattr(torch, "from_file")("/etc/passwd")'),
    "script-reads-past-a-comment.pt": lambda s: scripted("code/__torch__/m.py", b"x = (torch. # so\n from_file)('/etc/passwd')"),
    "script-of-before-1.4.pt": lambda s: scripted("model.json", b"{}"),
    "script-library.pt": lambda s: scripted("code/__torch__/m.py", b"x = ops.mine.run(x)"),
}  # fmt: skip
"""Files that stay refused whoever trusts them: they claim to be programs, which need no such thing."""
ARRAYS: dict[str, Make] = {"model.npy": array, "model.npz": arrays}
TARS: dict[str, Make] = {"older.pt": lambda s: tarred(bomb(s)), "model.onnx": lambda s: tarred(bomb(s))}


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "sentinel"


def judged(made: Mapping[str, Make], name: str, sentinel: Path, *, trust: bool = False) -> AweighError:
    """The verdict on a file, which left nothing behind."""
    file = sentinel.with_name(name)
    file.write_bytes(made[name](sentinel))
    with pytest.raises((NotTrusted, InvalidFile, UnknownFormat)) as caught:
        judge_in_child(Accused(source=str(file), trust=trust, factory=""))
    assert not sentinel.exists()
    assert name in caught.value.message or trust or made is PROGRAMS
    return caught.value


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_by_what_it_is(name: str, sentinel: Path) -> None:
    error = judged(PICKLES, name, sentinel)
    assert isinstance(error, NotTrusted)
    assert "pickle" in error.message
    assert "runs code from the file" in error.message
    assert "mkdir" in error.message or "could not be read" in error.message
    assert "--trust if you made this file yourself" in error.hint
    assert "state_dict" in error.hint or "skops or as ONNX" in error.hint


@pytest.mark.parametrize("trust", [False, True], ids=["untrusted", "trusted"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_with_more_than_a_program_is_refused_trusted_or_not(name: str, trust: bool, sentinel: Path) -> None:
    error = judged(PROGRAMS, name, sentinel, trust=trust)
    assert isinstance(error, NotTrusted)
    assert "the program holds" in error.message or "pickle" in error.message
    assert "save" in error.hint or "script it again" in error.hint


@pytest.mark.parametrize(("made", "name", "what"), [(ARRAYS, "model.npy", "numpy array"), (ARRAYS, "model.npz", "numpy archive"), (TARS, "older.pt", "tar archive"), (TARS, "model.onnx", "tar archive")])  # fmt: skip
def test_what_holds_no_model_is_named(made: Mapping[str, Make], name: str, what: str, sentinel: Path) -> None:
    error = judged(made, name, sentinel, trust=True)
    assert what in error.message
    assert "--sample" in error.hint or "ONNX" in error.hint


def encrypted(s: Path) -> bytes:
    data = bytearray(saved(bomb(s)))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + at] |= 1
    return bytes(data)


def wrong_sum(s: Path) -> bytes:
    data = bytearray(saved(pickle.dumps({"weight": "aaaa"}, protocol=2)))
    data[data.index(b"aaaa")] ^= 1
    return bytes(data)


DAMAGED: dict[str, Make] = {
    "encrypted.pt": encrypted,
    "checksum.pt": wrong_sum,
    "short.pt2": lambda s: member("archive_format", b"pt2")[:-200],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_read_is_never_taken_for_clean(name: str, sentinel: Path) -> None:
    assert isinstance(judged(DAMAGED, name, sentinel), InvalidFile)


def test_honest_files_pass(tmp_path: Path) -> None:
    plain = b"\x80\x02ccollections\nOrderedDict\n)Rctorch._utils\n_rebuild_tensor_v2\n0ctorch\nFloatStorage\n0."
    honest = {
        "weights.pt": saved(plain),
        "legacy.pt": b"".join(pickle.dumps(each, protocol=2) for each in (LEGACY_MAGIC, 1001, {}))
        + plain
        + pickle.dumps(["1"], protocol=2),
        "program.pt2": exported(lambda program, members: None),
        "script.pt": scripted(),
    }
    for name, data in honest.items():
        (tmp_path / name).write_bytes(data)
        judge_in_child(Accused(source=str(tmp_path / name), trust=False, factory=""))


@pytest.mark.parametrize(
    "name", ["weights.pt", "legacy.pt", "renamed.bin", "renamed.onnx", "gzip.joblib", "lz4.joblib", "sample-inputs.pt2", "script.pt"]
)
def test_packing_refuses_before_it_makes_an_environment(name: str, sentinel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sentinel.with_name("environments")
    file = sentinel.with_name(name)
    file.write_bytes((PICKLES | PROGRAMS)[name](sentinel))
    with pytest.raises(NotTrusted):
        aweigh.pack(file, "hostile", factory="os:getcwd", home=str(sentinel.with_name("home")), environments=str(folder))
    assert not sentinel.exists()
    assert not [place for place in folder.glob("*") if not place.name.startswith("code-")]


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_objects_are_no_data_either(name: str, sentinel: Path) -> None:
    file = sentinel.with_name(name)
    file.write_bytes(ARRAYS[name](sentinel))
    for read in (read_sample, partial(read_labels, rows=1)):
        with pytest.raises(InvalidFile, match="Object arrays cannot be loaded") as caught:
            read(file)
        assert not sentinel.exists()
        assert ".parquet" in caught.value.hint


def test_a_damaged_archive_is_an_invalid_file(tmp_path: Path) -> None:
    source = tmp_path / "m.pt"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", pickle.dumps(list(range(5000)), protocol=2))
    data = bytearray(source.read_bytes())
    data[50:150] = b"\xff" * 100
    source.write_bytes(data)
    with pytest.raises(InvalidFile, match=r"m\.pt: data\.pkl"):
        judge(source, recognise(source), trust=False)


def test_an_archive_behind_an_old_pickle_does_not_stand_for_it(tmp_path: Path, sentinel: Path) -> None:
    source = tmp_path / "m.pt"
    source.write_bytes(legacy({"weight": Bomb(sentinel)}, []))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({}, protocol=2))
    with pytest.raises(NotTrusted, match="mkdir"):
        judge(source, recognise(source), trust=False)
    assert not sentinel.exists()

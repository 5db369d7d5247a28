"""A8: skops archives. What is trusted is aweigh's own list, which is constant; anything else in an archive is named, and nothing of it is imported or called."""

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops
import skops.io
from sklearn.linear_model import LogisticRegression

from aweigh.core.errors import AweighError, NotTrusted
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

ROWS = np.random.default_rng(1).normal(size=(60, 4))
Node = dict[str, Any]


class Touch:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skops") / "sound.skops"
    skops.io.dump(LogisticRegression().fit(ROWS, ROWS[:, 0] > 0), path)
    return path


def rewritten(sound: Path, folder: Path, change: Any) -> Path:
    """The archive with another schema."""
    path = folder / "hostile.skops"
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                change(schema)
                data = json.dumps(schema).encode()
            target.writestr(name, data)
    return path


def attribute(schema: Node, node: Node) -> None:
    """Put a node among the estimator's attributes."""
    schema["content"]["content"]["coef_"] = node


def text(value: str) -> Node:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "__id__": 901,
        "content": json.dumps(value),
        "is_json": True,
    }


def tuple_of(*nodes: Node) -> Node:
    return {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "__id__": 902, "content": list(nodes)}


def hidden_method(sentinel: str) -> Node:
    """CVE-2025-54413: a method whose class is not the one that is shown."""
    del sentinel
    inner = {"__class__": "Path", "__module__": "pathlib", "__loader__": "ObjectNode", "__id__": 903, "content": None}
    return {
        "__class__": "Pipeline", "__module__": "sklearn.pipeline", "__loader__": "MethodNode", "__id__": 904,
        "content": {"func": "touch", "obj": inner},
    }  # fmt: skip


def hidden_operator(sentinel: str) -> Node:
    """CVE-2025-54412: a function of `operator` under another's name."""
    return {
        "__class__": "str", "__module__": "builtins", "__loader__": "OperatorFuncNode", "__id__": 905,
        "attrs": tuple_of(text(sentinel)), "content": {"attrs": tuple_of(text(sentinel))},
    }  # fmt: skip


def reduced(sentinel: str) -> Node:
    """A class that is called with arguments when it is loaded."""
    return {
        "__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode", "__id__": 906,
        "content": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "__id__": 907, "key_types": [], "content": {"args": text(f"touch {sentinel}")}},
    }  # fmt: skip


def function(sentinel: str) -> Node:
    del sentinel
    return {
        "__class__": "system",
        "__module__": "os",
        "__loader__": "FunctionNode",
        "__id__": 908,
        "content": {"module_path": "os", "function": "system"},
    }


def strange_type(sentinel: str) -> Node:
    del sentinel
    return {
        "__class__": "Evil",
        "__module__": "evil_of_mine",
        "__loader__": "TypeNode",
        "__id__": 909,
        "content": {"__class__": "Evil", "__module__": "evil_of_mine"},
    }


def partial(sentinel: str) -> Node:
    return {
        "__class__": "partial", "__module__": "functools", "__loader__": "PartialNode", "__id__": 910,
        "content": {"func": function(sentinel), "args": tuple_of(text(f"touch {sentinel}")), "kwds": tuple_of(), "namespace": tuple_of()},
    }  # fmt: skip


HOSTILE = {each.__name__: each for each in (hidden_method, hidden_operator, reduced, function, strange_type, partial)}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_node_that_calls_or_imports_is_refused(case: str, sound: Path, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    (tmp_path / "evil_of_mine.py").write_text(f"from pathlib import Path\nPath({str(sentinel)!r}).touch()\nclass Evil: pass\n")
    path = rewritten(sound, tmp_path, lambda schema: attribute(schema, HOSTILE[case](str(sentinel))))
    before = sys.path[:]
    sys.path.append(str(tmp_path))  # what it names can be imported, and is not
    try:
        with pytest.raises(AweighError) as caught:
            pack(path, PackRequest(prove=prove, sample=ROWS))
    finally:
        sys.path[:] = before
    assert caught.value.code in {"not-trusted", "invalid-file"}, caught.value
    assert caught.value.hint
    assert not sentinel.exists()


def test_a_loader_that_is_none_is_refused(sound: Path, tmp_path: Path) -> None:
    path = rewritten(sound, tmp_path, lambda schema: attribute(schema, {**text("x"), "__loader__": "EvilNode"}))
    with pytest.raises(AweighError) as caught:
        pack(path, PackRequest(prove=prove, sample=ROWS))
    assert caught.value.code in {"not-trusted", "invalid-file"}


def test_a_pickle_under_the_name_of_a_skops_file_is_a_pickle(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(Touch(str(sentinel))))
    with pytest.raises(NotTrusted, match="pickle"):
        pack(path, PackRequest(prove=prove, sample=ROWS))
    assert not sentinel.exists()


def test_the_version_has_the_fixes() -> None:
    """0.12 fixed the first two, 0.13 the third, 0.14 what followed."""
    assert tuple(map(int, skops.__version__.split(".")[:2])) >= (0, 14)

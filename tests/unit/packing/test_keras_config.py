"""The verdict on Keras configurations, which needs no Keras."""

from pathlib import Path
from typing import Any

import pytest

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.packing.frameworks.keras_config import judge_config, parse

FILE = Path("model.keras")
DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"units": 1, "activation": "relu", "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}},
    "registered_name": None,
}


def model(*layers: Any, **more: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}, **more}


def test_a_model_of_keras_own_layers_is_well() -> None:
    judge_config(
        FILE, model(DENSE, {"class_name": "Dense", "config": {}}, {"module": "keras.src.ops.numpy", "class_name": "Add"}), trust=False
    )


def test_the_training_side_is_never_loaded_and_not_judged() -> None:
    config = model(DENSE, compile_config={"loss": {"module": "mine", "class_name": "function", "config": "focal"}})
    judge_config(FILE, config, trust=False)
    with pytest.raises(NotTrusted):  # that of a model inside is
        judge_config(FILE, model({**model(DENSE), "compile_config": config["compile_config"]}), trust=False)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({"module": "keras.layers", "class_name": "Lambda", "config": {}}, "Lambda"),
        ({"class_name": "Lambda", "config": {}}, "Lambda"),
        ({"class_name": "__lambda__", "config": {"code": ""}}, "Lambda"),
        ({"module": "os", "class_name": "system", "config": "true"}, "os.system"),
        ({"module": "builtins", "class_name": "function", "config": "exec"}, "builtins.exec"),
        ({"module": "keras.utils", "class_name": "get_file", "config": {}}, "keras.utils.get_file"),
        ({"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}, "enable_unsafe"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "TFSMLayer"),
        ({"module": "keras.saving", "class_name": "load_model", "config": {}}, "load_model"),
        ({"module": ["keras"], "class_name": "Dense"}, "no names"),
        ({"class_name": "Attention2000", "config": {}}, "Attention2000"),
        ({"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "/etc/passwd"),
        ({"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "gs://bucket/words"}}, "gs://"),
    ],
)
def test_what_would_run_or_read_is_refused_wherever_it_stands(found: dict[str, Any], named: str) -> None:
    deep = {**DENSE, "config": {"inbound_nodes": [{"args": [[{"kwargs": {"x": found}}]]}]}}
    for config in (model(DENSE, found), model(deep)):
        with pytest.raises(NotTrusted, match=named) as refused:
            judge_config(FILE, config, trust=False)
        assert str(refused.value.context["place"]).startswith("$.config.layers")
        judge_config(FILE, config, trust=True)


def test_what_is_no_configuration_is_an_invalid_file() -> None:
    for raw in (b"", b"{", b"[" * 100_000):
        with pytest.raises(InvalidFile):
            parse(FILE, raw)
    for config in ([], {}, {"class_name": 3}):
        with pytest.raises(InvalidFile):
            judge_config(FILE, config, trust=True)
    nested: Any = DENSE
    for _ in range(300):
        nested = {"config": nested}
    with pytest.raises(InvalidFile, match="deep"):
        judge_config(FILE, model(nested), trust=False)

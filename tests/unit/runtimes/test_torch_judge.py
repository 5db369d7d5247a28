"""PyTorch archives are judged from their bytes: honest ones pass, and whatever loading would evaluate, import, unpickle or call is refused by name."""

import json
from typing import Any

import pytest

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.runtimes.torch_judge import judge_exported, judge_operators, judge_script

SHAPE = "Mul(Integer(2), Symbol('s23', positive=True, integer=True))"
EVIL = {"sizes": [{"as_expr": {"expr_str": "__import__('os').system('touch sentinel')"}}]}
TREE = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": null, "context": null, "children_spec": []}]}]'


def program(**changes: Any) -> dict[str, bytes]:
    """The members of a small exported program, with one thing changed."""
    node = {
        "target": changes.get("target", "torch.ops.aten.relu.default"),
        "name": changes.get("name", "relu"),
        "metadata": changes.get("metadata", {"stack_trace": "os.system('x')"}),
    }
    document = {
        "graph_module": {
            "graph": {
                "nodes": [node],
                "sym_int_values": {"a": {"as_expr": {"expr_str": changes.get("shape", SHAPE)}}},
                "tensor_values": changes.get("tensors", {}),
            },
            "signature": {
                "input_specs": [{"parameter": {"arg": {"name": "p"}, "parameter_name": changes.get("place", "layers.0.weight")}}]
            },
            "module_call_graph": [
                {
                    "fqn": changes.get("place", ""),
                    "signature": {"in_spec": changes.get("tree", TREE), "forward_arg_names": changes.get("arguments", ["ids"])},
                }
            ],
        },
        "range_constraints": {changes.get("symbol", "s23"): {"min_val": 2}},
        "guards_code": [changes.get("guard", "L['mask'].size()[0] == L['ids'].size()[0] * 2")],
    }
    weights = {"config": {"w": {"path_name": "weight_0", "use_pickle": changes.get("use_pickle", False)}}}
    members = {
        "archive_format": b"pt2",
        "models/model.json": json.dumps(document).encode(),
        "data/weights/model_weights_config.json": json.dumps(weights).encode(),
        "data/weights/weight_0": b"1234",
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "data/sample_inputs/model.pt": b"PK",
    }
    return members | changes.get("members", {})


def judged(members: dict[str, bytes]) -> None:
    judge_exported(list(members), members.__getitem__)


def keyword_tree(context: str) -> str:
    """How inputs are nested where forward takes keywords alone."""
    leaf = {"type": None, "context": None, "children_spec": []}
    given = [
        {"type": "builtins.tuple", "context": "null", "children_spec": []},
        {"type": "builtins.dict", "context": context, "children_spec": [leaf]},
    ]
    return json.dumps([1, {"type": "builtins.tuple", "context": "null", "children_spec": given}])


def test_an_honest_program_passes() -> None:
    judged(program())
    judged(program(guard="(max(1, 1 + (((-3) + L['image'].size()[3]) // 2)) * 2) != 1"))
    judged(
        program(
            tensors={word: {"sizes": [{"as_expr": {"expr_str": SHAPE}}]} for word in ("metadata", "expr_str", "as_custom_obj", "in_spec")}
        )
    )
    judged(program(tree=keyword_tree('["mask", "a_b"]'), arguments=None, place="towers.image-encoder (1).weight"))
    judged(program(target="_operator.floordiv", guard="not (L['x'].size()[1] == 1) and L['x'].size()[0] <= 1024"))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": "__import__('os').system('touch sentinel')"},
        {"shape": "Symbol('s0', positive=__import__('os'))"},
        {"shape": "sympify('1')"},
        {"shape": "Symbol('s0').__class__"},
        {"shape": "[x for x in ()]"},
        {"shape": "(lambda: 1)()"},
        {"shape": "Integer('__import__(\"os\")')"},
        {"shape": "Add(" * 3000},
        {"symbol": "__import__('os').system('id')"},
        {"guard": "__import__('os').system('touch sentinel')"},
        {"guard": "L['x'].__class__.__mro__"},
        {"guard": "L.get('x')"},
        {"guard": "exec('1')"},
        {"guard": "L['x'].size()\nimport os"},
        {"target": "torch.os.system"},
        {"target": "torch.load"},
        {"target": "torch.ops.aten.from_file.default"},
        {"target": "torch.ops.mine.anything.default"},
        {"target": "_operator.attrgetter"},
        {"target": "#namespace:op"},
        {"target": 'relu");import os;("'},
        {"name": "x = __import__('os')"},
        {"tree": '[1, {"type": "collections.defaultdict", "context": {"default_factory_module": "os"}, "children_spec": []}]'},
        {"tree": '[1, {"type": "builtins.dict", "context": "[{\\"__enum__\\": true, \\"fqn\\": \\"os:x\\"}]", "children_spec": []}]'},
        {
            "tree": '[1, {"type": "builtins.dict", "context": "[{\\"\\\\u005f_enum__\\": true, \\"fqn\\": \\"os:x\\"}]", "children_spec": []}]'
        },
        {"tree": "no json"},
        {"tree": keyword_tree('["x=__import__(1)"]')},
        {"tree": keyword_tree('["x\\": 1"]')},
        {"tree": keyword_tree("no json")},
        {"tensors": {"metadata": EVIL}},
        {"tensors": {"tensor_values": {"metadata": EVIL}}},
        {"tensors": [EVIL]},
        {"metadata": {"x": EVIL}},
        {"metadata": [EVIL]},
        {"arguments": ["ids", "y=__import__('os').system('touch sentinel')"]},
        {"arguments": "ids"},
        {"place": 'weight") or __import__("os").system("touch sentinel") or ("'},
        {"place": "weight\\"},
        {"use_pickle": True},
        {"use_pickle": 1},
        {"members": {"data/constants/custom_obj_0": b""}},
        {"members": {"data/constants/opaque_obj_0": b""}},
        {"members": {"data/weights/model.pt": b""}},
        {"members": {"data/aotinductor/model/model.so": b""}},
        {"members": {"serialized_state_dict.pt": b""}},
        {"members": {"extra/../../x": b""}},
    ],
)
def test_what_loading_would_run_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(NotTrusted, match="the program holds"):
        judged(program(**change))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_program_is_an_invalid_file(text: bytes) -> None:
    with pytest.raises(InvalidFile, match="not a readable exported program"):
        judged(program(members={"models/model.json": text}))


def scripted(code: str, *imports: str) -> None:
    named = b"".join(b"c%s\n%s\n0" % tuple(part.encode() for part in name.rsplit(".", 1)) for name in imports)
    members = {"data.pkl": b"\x80\x02" + named + b"N.", "code/__torch__/m.py": code.encode(), "data/0": b"", "version": b"3"}
    judge_script(list(members), members.__getitem__)


HONEST = "def forward(self: __torch__.m.Net, x: Tensor) -> Tensor:\n  return torch.relu(ops.prim.unchecked_cast(x))\n"


def test_an_honest_script_passes() -> None:
    scripted(
        HONEST,
        "__torch__.m.Net",
        "torch._utils._rebuild_tensor_v2",
        "torch.FloatStorage",
        "collections.OrderedDict",
        "torch.jit._pickle.build_intlist",
    )
    scripted('  _0 = getattr(self, "0")\n  a = (getattr((self.d).x, "a-b")).forward(x, )\n')
    scripted('  _0 = getattr(d, "a b")\n  ops.prim.RaiseException("no. # save(\\"x\\").\\n", "builtins.ValueError")\n')
    scripted("class Net(Module):\n  ops : __torch__.m.Sub\n  def forward(self):\n    ops0 = self.ops\n")


@pytest.mark.parametrize(
    ("code", "imports"),
    [
        ("torch.save(x, 'sentinel')", ()),
        ("x . save ('sentinel')", ()),
        ("torch.from_file('/etc/passwd')", ()),
        ("ops.mine.run(x)", ()),
        ('getattr(torch, "from_file")("/etc/passwd")', ()),
        ('getattr(x, "from_file")("/etc/passwd")', ()),
        ('getattr(x, "from\\137file")("/etc/passwd")', ()),
        ('getattr(x, "from_" "file")("/etc/passwd")', ()),
        ('getattr(x, name)("/etc/passwd")', ()),
        ('hasattr(torch, "from_file")', ()),
        ('g = getattr\n  g(torch, "0")', ()),
        ("o = ops\n  o.mine.run(x)", ()),
        ('getattr(ops, "mine").run(x)', ()),
        ("torch.\\\nfrom_file('/etc/passwd')", ()),
        ("(torch. # here\n  from_file)('/etc/passwd')", ()),
        ('x = """\n"""; torch.from_file(1)', ()),
        ('x = "\\\\"; torch.relu(x)', ()),
        ('x = "', ()),
        ("__torch__.torch.classes.dist_rpc.WorkerInfo", ()),
        (HONEST, ("os.system",)),
        (HONEST, ("builtins.exec",)),
        (HONEST, ("__torch__.torch.classes.dist_rpc.WorkerInfo",)),
        (HONEST, ("torch.hub.load",)),
    ],
)
def test_a_script_that_reaches_out_is_refused(code: str, imports: tuple[str, ...]) -> None:
    with pytest.raises(NotTrusted, match="the program holds"):
        scripted(code, *imports)


def test_a_pickle_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(NotTrusted, match="cannot be followed"):
        judge_script(["constants.pkl"], lambda _name: b"")


@pytest.mark.parametrize("member", ["model.json", "attributes.pkl", "code/hidden", "code/../x.py", "libs/x.so"])
def test_a_script_archive_of_other_parts_is_refused(member: str) -> None:
    with pytest.raises(NotTrusted, match="no part of a TorchScript program"):
        judge_script([member], lambda _name: b"\x80\x02N.")


def test_operators_that_touch_files_are_refused_however_they_were_found() -> None:
    judge_operators(["prim::Constant", "aten::add_", "quantized::linear", "prim::CallMethod", "prim::Loop"])
    for kind in ("aten::from_file", "aten::save", "prim::PythonOp", "prim::rpc_sync", "mine::run", "c10d::send", "from_file"):
        with pytest.raises(NotTrusted, match=kind):
            judge_operators(["prim::Constant", kind])

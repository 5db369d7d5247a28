"""The verdict on PyTorch programs, from their bytes alone: what a `.pt2` or TorchScript archive would import, evaluate, unpickle or call. Nothing of them is run here.

torch.export.load evaluates the texts of a `.pt2` as Python (shapes, guards) and unpickles what cannot be read otherwise; TorchScript code may name operators that
touch files. So each is held against a list of what honest programs hold. Called before loading, by packing and again by the runtime's own process.
"""

import ast
import io
import pickletools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, Final

import msgspec

from aweigh.core.errors import InvalidFile, NotTrusted

Read = Callable[[str], bytes]
_MAX_JSON: Final = 256 * 1024 * 1024
_MAX_TEXT: Final = 10_000
HINT: Final = (
    "torch.export.save of the torch version that aweigh uses writes no such thing; it cannot be trusted away: save the program again"
)
_EXPORTED_MEMBERS: Final = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/[\w.]+|models/model\.json|extra/[^/]+"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
)
_NAME: Final = re.compile(r"[A-Za-z_]\w{0,999}")
_PATH: Final = re.compile(r"[^\"'\\\x00-\x1f\x7f]{0,1000}")
"""Where a weight or module lies, and keys of inputs: written between quotes into code that torch makes."""
_PATHS: Final = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"})
_TABLES: Final = frozenset(
    {"tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values", "range_constraints", "as_string_to_argument"}
    | {"treespec_namedtuple_fields", "opset_version"}
)
"""Fields of torch's schema whose keys are names that the program's author chose."""
_TARGET: Final = re.compile(
    r"torch\.ops\.(aten|prims|quantized|quantized_decomposed)\.\w+\.\w+"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast|scan|while_loop|map_impl)"
    r"|torch\.sym_(int|float|max|min|ite|not|sqrt|sum)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|getitem|and_|or_|xor|not_)"
    r"|math\.(trunc|ceil|floor|sqrt|pow|log2|log|exp)"
)
_FILES: Final = frozenset({"save", "from_file", "load", "load_tensor", "_print"})
"""Operators that touch files or the terminal."""
_PYTHON: Final = frozenset({"PythonOp", "IgnoredPythonOp", "rpc_async", "rpc_sync", "rpc_remote"})
"""Operators that call Python or other machines."""
_SHAPE_WORDS: Final = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|ModularIndexing|CleanDiv|CeilDiv|CeilToInt|"
    r"FloorToInt|TruncToInt|TruncToFloat|IntTrueDiv|FloatTrueDiv|ToFloat|RoundToInt|RoundDecimal|Where|Identity|PowByNatural|"
    r"FloatPow|Equality|Unequality|StrictLessThan|StrictGreaterThan|LessThan|GreaterThan|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|"
    r"Piecewise|ExprCondPair|BooleanTrue|BooleanFalse|OpaqueUnaryFn_sqrt|OpaqueUnaryFn_log2|int_oo|oo"
)
_SHAPE_NAME: Final = re.compile(r"[suzi]f?\d+")
_TREES: Final = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
_GUARD_WORDS: Final = frozenset(
    {"size", "stride", "dim", "ndimension", "storage_offset", "numel", "floor", "ceil", "trunc", "sqrt", "log2"}
)
_GUARD_CALLS: Final = frozenset({"len", "max", "min", "abs", "int", "float", "Max", "Min", "Mod", "FloorDiv", "PythonMod"})
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|\w+|[ \t\r\n\f\v]+|.', re.DOTALL)
_OTHERWISE_READ: Final = re.compile(r"\\\\[\"']")
_ATTRIBUTE: Final = re.compile(r'"((?:[^"\\]|\\["\'\\])*)"')
_BARE: Final = re.compile(r"(?<!\. )(?<!def )(?<!class )\b(ops)\b(?! [.:])")
_SCRIPT_MEMBERS: Final = re.compile(
    r"(data|constants|traced_inputs|bytecode|mobile_debug_handles)\.pkl|(data|constants|tensors|traced_inputs)/\w+|code/[^.\\]+\.py(\.debug_pkl)?|[^.\\]+\.debug_pkl"
    r"|version|byteorder|\.data/[\w.]+|extra/.*"
)
_CODE: Final = re.compile(r"\.\s*(\w+)")
_OPERATORS: Final = re.compile(r"\bops\s*\.\s*(\w+)")
_CLASSES: Final = re.compile(r"__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*(\w+)")
_NAMESPACES: Final = frozenset({"aten", "prim", "prims", "quantized", "sparse"})
_SCRIPT_GLOBALS: Final = re.compile(
    r"__torch__\..*|torch\.jit\._pickle\.\w+|torch\._utils\._rebuild\w+|torch\.\w+Storage|collections\.OrderedDict|torch\.(float|int|uint|bfloat|bool)\w*"
    r"|torch\.(per_tensor_affine|per_channel_affine|per_channel_affine_float_qparams|per_tensor_symmetric|per_channel_symmetric)"
)


def refuse(what: str, why: str, hint: str = HINT) -> NotTrusted:
    """The error for something that does not belong in a program."""
    return NotTrusted(f"the program holds {what[:200]!r}, {why}", hint=hint)


def judge_exported(members: Sequence[str], read: Read) -> None:
    """A `.pt2`. Raises NotTrusted that names what does not belong there, InvalidFile for what is none."""
    for member in members:
        if not _EXPORTED_MEMBERS.fullmatch(member) or ".." in member:
            raise refuse(member, "which is no part of an exported program that aweigh can read without running code")
    for place in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        for name, entry in _json(place, read).get("config", {}).items():
            if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
                raise refuse(str(name), "which is kept as a pickle")
    document = _json("models/model.json", read)
    for guard in document.get("guards_code") or ():
        _judge_guard(guard)
    for symbol in document.get("range_constraints") or {}:
        _judge_shape(symbol)
    for key, value in _walk(document):
        _judge_value(key, value)


def _json(place: str, read: Read) -> dict[str, Any]:
    try:
        data = read(place)
        if len(data) > _MAX_JSON:
            raise InvalidFile(f"{place} is {len(data)} bytes", hint="no program is that long")
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, RuntimeError, KeyError) as error:
        raise InvalidFile(
            f"not a readable exported program: {place}: {str(error)[:200]}", hint="save it again with torch.export.save"
        ) from error
    if not isinstance(document, dict):
        raise InvalidFile(f"not a readable exported program: {place} is no object", hint="save it again with torch.export.save")
    return document


def _walk(document: Any) -> Iterator[tuple[str, Any]]:
    """Every field with its value, by torch's schema: what is called `metadata` or `target` in a table of tensors is a tensor. Raises NotTrusted for metadata that is
    more than texts, which loading looks up and never calls."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            for key, value in item.items():
                if key == "metadata":
                    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
                        raise refuse(str(value), "which is no metadata")
                elif key in _TABLES and isinstance(value, dict):
                    waiting += value.values()
                else:
                    yield str(key), value
                    waiting.append(value)


def _judge_value(key: str, value: Any) -> None:
    if key == "target" and isinstance(value, str):
        if not _TARGET.fullmatch(value) or _FILES & set(value.split(".")):
            raise refuse(value, "which is no operator that a model is made of")
    elif key == "expr_str":
        _judge_shape(value)
    elif key in {"in_spec", "out_spec", "treespec"} and isinstance(value, str):
        _judge_tree(value)
    elif key == "forward_arg_names" and value is not None:
        if not isinstance(value, list) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in value):
            raise refuse(str(value), "which are no names of arguments")
    elif key in _PATHS and isinstance(value, str):
        if not _PATH.fullmatch(value):
            raise refuse(value, "which is no place in a module")
    elif key in {"name", "as_name"} and isinstance(value, str) and value:
        if not _NAME.fullmatch(value):
            raise refuse(value, "which is no name")
    elif key in {"as_custom_obj", "as_operator", "custom_obj", "custom_obj_values", "as_script_object"} and value:
        raise refuse(str(value), "an object that only code can make")


def _parsed(text: Any, what: str) -> ast.expr:
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise refuse(str(text), f"which is no {what}")
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(text, f"which is no {what}") from error


_ARITHMETIC: Final = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context)


def _judge_shape(text: Any) -> None:
    """A size as sympy writes it: evaluated as Python at loading, so nothing but numbers, symbols and arithmetic is let through."""
    for node in ast.walk(_parsed(text, "size")):
        if isinstance(node, ast.Call):
            fine = isinstance(node.func, ast.Name) and all(
                word.arg in {"positive", "integer", "nonnegative", "precision", "evaluate"} for word in node.keywords
            )
        elif isinstance(node, ast.Name):
            fine = bool(_SHAPE_WORDS.fullmatch(node.id)) or bool(_SHAPE_NAME.fullmatch(node.id))
        elif isinstance(node, ast.Constant):
            fine = isinstance(node.value, int | float) or (
                isinstance(node.value, str) and bool(_SHAPE_NAME.fullmatch(node.value) or _digits(node.value))
            )
        else:
            fine = isinstance(node, (ast.keyword, ast.Tuple, *_ARITHMETIC))
        if not fine:
            raise refuse(str(text), "which is no size")


def _digits(text: str) -> bool:
    return bool(re.fullmatch(r"-?[\d.]{1,40}(e-?\d{1,3})?", text))


def _judge_guard(text: Any) -> None:
    """A condition on the inputs: compiled as Python at loading, so nothing but the inputs' sizes, numbers and comparisons is let through."""
    for node in ast.walk(_parsed(text, "condition on the inputs")):
        if isinstance(node, ast.Call):
            called = node.func
            fine = isinstance(called, ast.Attribute) and called.attr in _GUARD_WORDS and not node.keywords
            fine = fine or (isinstance(called, ast.Name) and called.id in _GUARD_CALLS)
        elif isinstance(node, ast.Attribute):
            fine = node.attr in _GUARD_WORDS
        elif isinstance(node, ast.Name):
            fine = node.id in _GUARD_CALLS or node.id in {"L", "math"}
        elif isinstance(node, ast.Constant):
            fine = isinstance(node.value, int | float | None) or (isinstance(node.value, str) and bool(_NAME.fullmatch(node.value)))
        else:
            fine = isinstance(node, (ast.Subscript, *_ARITHMETIC))
        if not fine:
            raise refuse(str(text), "which is no condition on sizes")


def _judge_tree(text: str) -> None:
    """How inputs and outputs are nested: anything but plain containers would be imported by name, and the names of arguments become code."""
    document = _decoded(text, text)
    for item in _nested(document):
        if isinstance(item, dict):
            if isinstance(item.get("type"), dict | list) or item.get("type") not in _TREES:
                raise refuse(str(item.get("type")), "a container that would be imported by its name")
            _judge_keys(item.get("context"))
    match document:
        case [_, {"children_spec": [_, {"context": str(context)}]}]:
            for name in _decoded(context, text) or ():
                if not isinstance(name, str) or not _NAME.fullmatch(name):
                    raise refuse(str(name), "which is no name of an argument")


def _judge_keys(context: Any) -> None:
    """The keys of a container, as JSON inside JSON: an object there would be imported by the name that it gives."""
    for item in _nested(_decoded(context, context)) if isinstance(context, str) else ():
        if isinstance(item, dict) or (isinstance(item, str) and not _PATH.fullmatch(item)):
            raise refuse(str(context), "which would be imported by its name, or is no key")


def _nested(document: Any) -> Iterator[Any]:
    """Everything in a document but its lists, at whatever depth."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        else:
            yield item
            if isinstance(item, dict):
                waiting += item.values()


def _decoded(text: str, whole: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise refuse(whole, "which describes no inputs") from error


def globals_of(data: bytes | IO[bytes]) -> list[str] | None:
    """What a pickle would import, by its opcodes up to its end; None where they cannot be followed."""
    found: list[str] = []
    complete = False
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data) if isinstance(data, bytes) else data):
            if opcode.name in {"GLOBAL", "INST"}:
                found.append(str(argument).replace(" ", ".", 1))
            elif opcode.name == "STACK_GLOBAL":
                return None  # torch writes protocol 2, which names what it takes in one piece, and reads no other as weights
            complete = opcode.name == "STOP"
    except (ValueError, KeyError, IndexError, UnicodeError, OverflowError, MemoryError):
        return None
    return found if complete else None


def judge_script(members: Sequence[str], read: Read) -> None:
    """A TorchScript archive: its pickles may name its own code and tensors alone, its code no operator that touches files."""
    for member in members:
        if not _SCRIPT_MEMBERS.fullmatch(member):
            raise refuse(member, "which is no part of a TorchScript program", "save it again with torch.jit.save")
        if member.endswith(".pkl"):
            found = globals_of(read(member))
            if found is None:
                raise refuse(member, "a pickle that cannot be followed to its end")
            for name in found:
                if not _SCRIPT_GLOBALS.fullmatch(name):
                    raise refuse(name, f"which {member} would import")
                _judge_code(name)
        elif member.endswith(".py"):
            _judge_code(read(member).decode("utf-8", "replace"))


def judge_operators(kinds: Iterable[str]) -> None:
    """What a loaded TorchScript program calls, as its graphs name it, before it is called. Raises NotTrusted."""
    for kind in kinds:
        namespace, _, name = kind.partition("::")
        if namespace not in _NAMESPACES or name in _FILES | _PYTHON:
            raise refuse(kind, "an operator that a model is not made of", "take it out of the module and script it again")


def _judge_code(text: str) -> None:
    """TorchScript is compiled by loading, and parts of it run then: so its words are judged, and what torch.jit.save never writes is refused as it may hide one."""
    tokens = [token for token in _TOKEN.findall(text) if not token.isspace()]
    for at, token in enumerate(tokens):
        quoted = token[0] in "\"'"
        if token in {"#", "\\", '"', "'"} or (quoted and (_OTHERWISE_READ.search(token) or tokens[at - 1 : at][:1] == ['""'])):
            raise refuse(token, "which TorchScript is not written with", "script it again")
        if token in {"getattr", "hasattr"}:
            _judge_attribute(tokens, at)
    plain = " ".join('""' if token[0] in "\"'" else token for token in tokens)
    for name in _CODE.findall(plain):
        if name in _FILES:
            raise refuse(name, "an operator that touches files", "take it out of the module and script it again")
    for namespace in _OPERATORS.findall(plain):
        if namespace not in _NAMESPACES:
            raise refuse(f"ops.{namespace}", "operators that are not PyTorch's own", "take them out of the module and script it again")
    for namespace in _CLASSES.findall(plain):
        if namespace not in {"quantized", "rnn", "sparse", "xnnpack"}:
            raise refuse(f"torch.classes.{namespace}", "a class that is not PyTorch's own", "take it out of the module and script it again")
    for namespace in _BARE.findall(plain):
        raise refuse(namespace, "a namespace under another name", "script it again")


def _judge_attribute(tokens: Sequence[str], at: int) -> None:
    """`getattr(self, "0")`, which is how torch.jit.save writes a name that is none in Python; nothing else, for it would find operators too."""
    depth, end = 0, at
    for end in range(at + 1, len(tokens)):
        depth += (tokens[end] == "(") - (tokens[end] == ")")
        if depth == 0:
            break
    named = _ATTRIBUTE.fullmatch(tokens[end - 1])
    if tokens[at] != "getattr" or tokens[end - 2] != "," or named is None or named[1] in _FILES:
        raise refuse(" ".join(tokens[at : end + 1]), "which may find any operator by its name", "script it again")

"""The sentence under each field of `Settings`, read from its source: the one text for --help, `aweigh config` and the reference page."""

import ast
import functools
import inspect

from aweigh.core import settings


@functools.cache
def setting_help() -> dict[str, str]:
    """Setting -> its description; a field without a sentence of its own gets an empty one."""
    tree = ast.parse(inspect.getsource(settings.Settings))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    texts: dict[str, str] = {}
    name = ""
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            texts[name] = ""
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts[name] = inspect.cleandoc(str(node.value.value))
        else:
            name = ""
    return texts

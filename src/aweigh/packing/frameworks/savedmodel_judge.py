"""The verdict on a SavedModel folder that is packed: called in the child through `core/plugins.py` (kind "judge"), before TensorFlow is imported."""

from pathlib import Path

from aweigh.core.errors import InvalidFile
from aweigh.runtimes.savedmodel_graph import GRAPH, judge_savedmodel, refused


def judge(path: Path, *, trust: bool) -> None:
    """Raise NotTrusted naming the operations that do more than compute, InvalidFile for links, devices and for what is no SavedModel."""
    for each in path.rglob("*"):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            what = "a link" if each.is_symlink() else "neither a file nor a folder"
            raise InvalidFile(f"{path.name}: {each.relative_to(path)} is {what}", hint="copy the folder with its files (cp -rL)")
    strange = judge_savedmodel(path / GRAPH)
    if strange and not trust:
        raise refused(path.name, strange)

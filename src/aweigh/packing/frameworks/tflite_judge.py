"""The verdict on a .tflite file that is packed: called through `core/plugins.py` (kind "judge"), before LiteRT is imported."""

from pathlib import Path

from aweigh.runtimes.litert_file import judge_tflite


def judge(path: Path, *, trust: bool) -> None:  # noqa: ARG001  # the format holds no code to trust
    """Raise Unsupported naming operations that are not LiteRT's own, InvalidFile for bytes that are no model."""
    judge_tflite(path)

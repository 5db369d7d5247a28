"""BentoML: a model of its store (`model.yaml` beside the model's file), the versions of one name, or a bento with one model."""

from pathlib import Path
from typing import Final

from aweigh.core.errors import UnknownFormat
from aweigh.packing.layouts.inside import Inside, has, names, read_text, the_known_file, within
from aweigh.packing.layouts.yaml_text import read_yaml

_MODEL: Final = "model.yaml"
_BENTO: Final = "bento.yaml"
_BESIDES: Final = frozenset({_MODEL, "custom_objects.pkl"})


def open_bentoml(root: Path) -> Inside | None:
    """The model file, or None where the folder is none of BentoML's."""
    if has(root, _BENTO):
        models = [
            root / "models" / name / version
            for name in _folders(root / "models")
            for version in _folders(root / "models" / name)
            if has(root / "models" / name / version, _MODEL)
        ]
        if len(models) != 1:
            shown = ", ".join(str(model.relative_to(root)) for model in models[:8]) or "none beside its code"
            raise UnknownFormat(f"{root}: a bento with {len(models)} models: {shown}", hint="give the folder of one model")
        return _model(models[0])
    if has(root, "latest"):
        version = read_text(root, "latest").strip()
        folder = within(root, version, said_by=str(root / "latest"))
        return _model(folder) if has(folder, _MODEL) else None
    return _model(root) if has(root, _MODEL) else None


def _model(root: Path) -> Inside | None:
    said = read_yaml(read_text(root, _MODEL), place=str(root / _MODEL))
    module = str(said.get("module", ""))
    if not module.startswith("bentoml") and "bentoml_version" not in str(said.get("context", "")):
        return None
    file = the_known_file(root, layout="a BentoML model", besides=_BESIDES)
    name = f"{said.get('name', root.parent.name)}:{said.get('version', root.name)}"
    return Inside(layout=f"BentoML model {name[:200]}: {file.relative_to(root).as_posix()}", file=file)


def _folders(root: Path) -> list[str]:
    return [name for name in names(root) if (root / name).is_dir() and not (root / name).is_symlink()] if root.is_dir() else []

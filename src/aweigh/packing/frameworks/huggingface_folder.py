"""Judges a Hugging Face folder before any library reads it: what it is of, where its weights lie, and that nothing in it would have code run.

Called through `core/plugins.py` (kind "judge") before transformers is imported, and by `huggingface.py`. Reads JSON of bounded size and the first bytes of weights;
imports no framework.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidFile, NotTrusted, Unsupported

_MAX_JSON_BYTES: Final = 16 * 1024 * 1024
_CONFIGS: Final = (
    "config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json", "processor_config.json",
    "feature_extractor_config.json", "generation_config.json", "image_processor_config.json", "video_preprocessor_config.json",
    "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json",
)  # fmt: skip
"""What transformers and sentence-transformers read beside weights and words."""
_REFUSED: Final = {
    "auto_map": "code of its own",
    "custom_pipelines": "code of its own",
    "trust_remote_code": "code of its own",
    "quantization_config": "weights that were quantised for a library of their own",
}
_CODE: Final = re.compile(
    r"(configuration|modeling|modular|tokenization|processing|(image|video)_processing|feature_extraction|pipeline)\w*\.py"
)
"""What transformers calls the files that hold the classes of a folder."""
_FETCHED: Final = ("attn_implementation", "experts_implementation")
"""Settings that may name a repository of compiled code, which transformers would fetch and load."""
_WORDS: Final = ("tokenizer_file", "vocab_file", "merges_file", "spm_file", "sp_model_file")
"""Settings by which a tokenizer's files may be said to lie elsewhere."""
_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")
_PICKLED: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_ARCHITECTURE: Final = re.compile(r"[A-Z][A-Za-z0-9]{1,80}")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_HEADER: Final = slice(8, 9)
"""Where a safetensors file begins to say what is in it, in JSON."""
_LFS: Final = b"version https://git-lfs"
_ONLY_DATA: Final = "aweigh never runs code from a folder: pack a model of a class that transformers itself has, or export it to ONNX"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A judged folder. `pickled` where its weights are a pickle that a person trusts."""

    path: Path
    config: dict[str, Any]
    architecture: str
    pickled: bool

    def json(self, name: str) -> Any:
        """One of its JSON files, or None where it has none. Raises Unsupported where it names code, InvalidFile."""
        found = read_json(self.path / name)
        check_settings(found, name)
        return found


def judge(path: Path, *, trust: bool) -> Folder:
    """The folder, if it is safe to load. Raises Unsupported naming what in it is code, NotTrusted for pickled weights, InvalidFile."""
    for name in _CONFIGS:
        check_settings(read_json(path / name), name)
    _check_modules(read_json(path / "modules.json"))
    code = sorted(file.name for file in path.glob("*.py") if _CODE.fullmatch(file.name))
    if code:
        raise Unsupported(
            f"{path.name}: {code[0]} is code of the folder's own", hint=f"{_ONLY_DATA}; where transformers has the class, remove the file"
        )
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if (path / name).exists():
            raise Unsupported(f"{path.name}: {name} is an adapter, not a model", hint="merge it into its model, and save that")
    config = read_json(path / "config.json")
    if not isinstance(config, dict):
        raise InvalidFile(f"{path.name}: config.json holds no object", hint="copy the folder again")
    return Folder(path=path, config=config, architecture=_architecture(config), pickled=_pickled(path, trust=trust))


def _check_modules(modules: Any) -> None:
    """Refuse modules of sentence-transformers that are classes of the folder's own."""
    types = [str(module.get("type", "")) for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    foreign = next((kind for kind in types if not kind.startswith("sentence_transformers.")), None)
    if foreign is not None:
        raise Unsupported(f"modules.json: {foreign[:100]!r} is no module of sentence-transformers", hint=_ONLY_DATA)


def read_json(file: Path) -> Any:
    """What a JSON file holds, or None where there is none. Raises InvalidFile."""
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise InvalidFile(f"{file.name}: more than {_MAX_JSON_BYTES} bytes", hint="this is no file of a model's settings")
        return msgspec.json.decode(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidFile(f"{file.name}: not readable JSON: {error}", hint="copy the folder again") from error


def check_settings(settings: Any, name: str) -> None:
    """Refuse settings that name code or a file elsewhere, however deep they lie. Raises Unsupported, InvalidFile."""
    waiting = [(settings, name)]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, list):
            waiting += [(item, f"{place}[{at}]") for at, item in enumerate(value) if isinstance(item, dict | list)]
        elif isinstance(value, dict):
            for key, item in value.items():
                if item:
                    _check_setting(key, item, place)
            waiting += [(item, f"{place}.{key}") for key, item in value.items() if isinstance(item, dict | list)]


def _check_setting(key: str, item: Any, place: str) -> None:
    if key in _REFUSED:
        raise Unsupported(f"{place}: '{key}' asks for {_REFUSED[key]}: {str(item)[:200]}", hint=_ONLY_DATA)
    if key.strip("_").removesuffix("_internal") in _FETCHED and any(mark in str(item) for mark in "/@|"):
        raise Unsupported(f"{place}: '{key}' names code elsewhere: {str(item)[:200]}", hint=_ONLY_DATA)
    if key in _WORDS and isinstance(item, str) and ("/" in item or "\\" in item):
        raise InvalidFile(f"{place}: '{key}' lies outside of the folder: {item[:200]!r}", hint="save the tokenizer again")


def _architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str) or not _ARCHITECTURE.fullmatch(names[0]):
        raise InvalidFile(
            f"config.json: 'architectures' is {str(names)[:100]}: it must name the model's class", hint="save the model again"
        )
    return names[0]


def _pickled(path: Path, *, trust: bool) -> bool:
    """Whether the weights are a pickle. Raises NotTrusted, InvalidFile."""
    safe = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    weights = safe or next((path / name for name in _PICKLED if (path / name).is_file()), None)
    if weights is None:
        raise InvalidFile(f"{path.name}: there are no weights in it ({', '.join((*_WEIGHTS, *_PICKLED))})", hint="copy all of the folder")
    for shard in _parts(path, weights):
        with shard.open("rb") as file:
            head = file.read(len(_LFS))
        if head == _LFS:
            raise InvalidFile(f"{shard.name}: a Git LFS pointer, not the weights", hint="git lfs pull")
        if safe is not None and (shard.suffix != ".safetensors" or head[_HEADER] != b"{"):
            raise InvalidFile(
                f"{shard.name}: no safetensors file, as {weights.name} says", hint="save the model again with save_pretrained"
            )
    if safe is None and not trust:
        raise NotTrusted(
            f"{path.name}: its weights are a pickle ({weights.name}): loading it may run code from the file",
            hint="save the model again with save_pretrained, which writes model.safetensors; or pass --trust if you made it yourself",
            format="pytorch",
        )
    return safe is None


def _parts(path: Path, weights: Path) -> list[Path]:
    """The files that hold the weights: one, or those that an index names. Raises InvalidFile for a name that is none of the folder."""
    if not weights.name.endswith(".json"):
        return [weights]
    index = read_json(weights)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []
    wrong = next((name for name in names if not _PLAIN_NAME.fullmatch(name) or not (path / name).is_file()), None)
    if not names or wrong is not None:
        raise InvalidFile(f"{weights.name}: names weights that are not in the folder: {str(wrong)[:100]!r}", hint="copy all of the folder")
    return [path / name for name in names]

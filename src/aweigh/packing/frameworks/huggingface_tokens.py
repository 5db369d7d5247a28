"""The tokenizer of a Hugging Face folder: as transformers reads it, held against the model, and written down for the package. Called by `huggingface_text.py`."""

import dataclasses
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
import transformers
from tokenizers import normalizers

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.packing.frameworks.huggingface_folder import Folder

_NO_LIMIT: Final = 1_000_000
"""transformers says a number beyond all bounds where a tokenizer knows no limit."""
_DEFAULT_TOKENS: Final = 512
_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
_SPECIAL: Final = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_FEWER: Final = (0, 1, 2, 4)
"""Models that count positions from behind the padding token have fewer than their config says."""
_GENERIC: Final = frozenset({"PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend"})
_OTHER: Final = "give the tokenizer that the model was trained with: save both with save_pretrained into one folder"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How texts reach the model: the tokenizer, the tensors it makes, and what is done to a text before it."""

    tokenizer: Any
    inputs: tuple[str, ...]
    max_tokens: int
    prefix: str = ""

    @property
    def cuts(self) -> Literal["left", "right"]:
        return "left" if self.tokenizer.truncation_side == "left" else "right"

    @property
    def pads(self) -> Literal["left", "right"]:
        return "left" if self.tokenizer.padding_side == "left" else "right"

    def fill(self, name: str) -> int:
        """What the input is filled up with."""
        if name == "input_ids":
            return int(self.tokenizer.pad_token_id or 0)
        return int(getattr(self.tokenizer, "pad_token_type_id", 0) or 0) if name == "token_type_ids" else 0

    def prepared(self, text: str) -> str:
        """A text as the tokenizer is given it."""
        return self.prefix + text

    def write(self, file: Path) -> None:
        """The tokenizer as transformers really uses it, without cutting and filling up, which the package says itself."""
        data = json.loads(self.tokenizer.backend_tokenizer.to_str())
        data["truncation"] = data["padding"] = None
        file.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

    def tokens(self, texts: Sequence[str], truncation: str) -> tuple[int, ...]:
        """The ids of one row, as transformers gives them; none where a first text leaves no room for the second, which may not be cut."""
        row = ([self.prepared(text)] for text in texts)  # lists: of a bare pair transformers leaves out an empty second text
        try:
            made = self.tokenizer(*row, truncation=truncation, max_length=self.max_tokens)
        except Exception:  # the library raises bare Exceptions
            if truncation != "only_second":
                raise
            return ()
        return tuple(made["input_ids"][0])


def read_tokenizer(folder: Folder) -> Any:
    """The folder's tokenizer. Raises Unsupported where there is none that runs without Python of its own."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever the library raises, there is no tokenizer
        raise InvalidFile(
            f"{folder.path.name}: its tokenizer cannot be read: {str(error)[:300]}", hint="tokenizer.json belongs into the folder"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise Unsupported(f"{type(tokenizer).__name__} is a tokenizer in Python", hint="save one that has a tokenizer.json")
    _check_class(folder)
    return tokenizer


def _check_class(folder: Folder) -> None:
    """Raise Unsupported for a tokenizer of a class that transformers lacks: it would be read as if its class did nothing of its own."""
    settings = folder.json("tokenizer_config.json")
    said = str((settings.get("tokenizer_class") if isinstance(settings, dict) else None) or folder.config.get("tokenizer_class") or "")
    if said and said not in _GENERIC and not any(hasattr(transformers, name) for name in (said, said.removesuffix("Fast"), f"{said}Fast")):
        raise Unsupported(
            f"tokenizer_config.json: transformers {transformers.__version__} has no tokenizer {said[:100]!r}",
            hint="aweigh runs no code of a folder: where tokenizer.json holds all that it does, set tokenizer_class to PreTrainedTokenizerFast",
        )


def check_tokenizer(tokenizer: Any, model: Any, folder: Folder) -> None:
    """Raise InvalidFile for a tokenizer that is not this model's: other words or other special tokens than the model has."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    highest = max(tokenizer.get_vocab().values(), default=0)
    words = highest + 1
    if words > rows or rows - words > max(128, rows // 50):  # models fill their vocabulary up to a round number
        raise InvalidFile(f"the tokenizer knows {words} tokens, the model has {rows}: it is another model's", hint=_OTHER)
    for name in _SPECIAL:
        said, has = folder.config.get(name), getattr(tokenizer, name, None)
        if isinstance(said, int) and isinstance(has, int) and said >= 0 and said != has:
            raise InvalidFile(f"config.json says {name} = {said}, the tokenizer {has}: it is another model's", hint=_OTHER)


def lowercase(tokenizer: Any) -> None:
    """Let it write texts small before anything else, as sentence-transformers has it do."""
    backend: Any = tokenizer.backend_tokenizer
    several = type(backend.normalizer) is normalizers.Sequence
    before: list[Any] = list(backend.normalizer) if several else [backend.normalizer] if backend.normalizer is not None else []
    if not any(isinstance(each, normalizers.Lowercase) for each in before):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])


def inputs_of(tokenizer: Any, model: Any) -> tuple[str, ...]:
    """The tensors that the tokenizer makes and the model takes. Raises Unsupported."""
    takes = tuple(inspect.signature(model.forward).parameters)
    if "attention_mask" not in takes or "input_ids" not in takes:
        raise Unsupported(f"{type(model).__name__} takes {', '.join(takes[:6])}: not token ids and their mask", hint="export it to ONNX")
    makes = {*tokenizer.model_input_names, "attention_mask"}
    return tuple(name for name in _INPUTS if name in makes and name in takes)


def most_tokens(folder: Folder, tokenizer: Any, model: Any) -> int:
    """How many tokens the model reads: what the folder says. Raises InvalidFile where the model does not answer for so many."""
    sentence = folder.json("sentence_bert_config.json")
    own = _number(sentence.get("max_seq_length")) if isinstance(sentence, dict) else None
    positions = _number(folder.config.get("max_position_embeddings"))
    most = own or _number(tokenizer.model_max_length) or positions or _DEFAULT_TOKENS
    for fewer in _FEWER:
        if most > fewer and _answers(model, most - fewer):
            return most - fewer
    what = f"config.json says max_position_embeddings = {positions}" if positions else "its weights do not say how many"
    raise InvalidFile(
        f"the tokenizer cuts at {most} tokens, and the model does not answer for so many ({what}): it is another model's", hint=_OTHER
    )


def _number(said: object) -> int | None:
    """A limit that somebody set."""
    return int(said) if isinstance(said, int | float) and 0 < said < _NO_LIMIT else None


def _answers(model: Any, tokens: int) -> bool:
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    word = torch.full((1, tokens), vocabulary - 1, dtype=torch.int64)
    try:
        with torch.no_grad():
            model(input_ids=word, attention_mask=torch.ones_like(word))
    except (IndexError, RuntimeError):
        return False
    return True


def unknown_share(tokenizer: Any, texts: list[str]) -> float:
    """The part of tokens that the tokenizer does not know."""
    found = [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    return found.count(tokenizer.unk_token_id) / max(1, len(found))

"""The step "text" around a session: texts to tokens by a tokenizer of the package, answers to labels, entities or a stretch of the text.

Found through `core/plugins.py`; called by `load_session`. The tokenizer is data and this is aweigh's own code, so it runs where the session does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tokenizers

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.steps import TextStep
from aweigh.core.tensors import Tensor, Tensors, text_of
from aweigh.runtimes.text_answers import Encoded, answerer

MAX_CHARACTERS: Final = 200_000
"""Of one text: tokenizing takes time for what is cut off afterwards too."""
_MAX_TOKENS_A_CALL: Final = 16_384
"""Rows run together up to so many tokens, paddings included: the model's memory grows with them."""
_SOURCES: Final = {
    "input_ids": "ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "type_ids",
    "special_tokens_mask": "special_tokens_mask",
}
"""What the model may take, and what the tokenizer calls it."""


def around(session: Session, step: TextStep, signature: Signature, path: Callable[[str], Path]) -> Session:
    """The session as its clients see it. Raises InvalidFile for a tokenizer that is none, or a step that asks for what there is not."""
    unknown = [spec.name for spec in step.model_signature.inputs if spec.name not in _SOURCES]
    if unknown or not 1 <= len(step.texts) <= 2 or step.max_tokens < 1:
        raise InvalidFile(
            f"a text step that cannot be: inputs {unknown or list(step.texts)}, {step.max_tokens} tokens", hint="pack the model again"
        )
    return _TextSession(session, step, signature, read_tokenizer(path(step.tokenizer), step))


def read_tokenizer(file: Path, step: TextStep) -> tokenizers.Tokenizer:
    """The tokenizer, told how to cut; filling up is done here. Raises InvalidFile."""
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        strategy = "longest_first" if len(step.texts) == 1 else step.truncation
        tokenizer.enable_truncation(step.max_tokens, strategy=strategy, direction=step.cuts)
    except Exception as error:  # the library raises bare Exceptions
        raise InvalidFile(f"{step.tokenizer}: not a readable tokenizer: {error}", hint="pack the model again") from error
    return tokenizer


class _TextSession:
    """Tokens are made row by row, and rows of like length run together."""

    def __init__(self, session: Session, step: TextStep, signature: Signature, tokenizer: tokenizers.Tokenizer) -> None:
        self.concurrent = session.concurrent
        self.isolated = session.isolated
        self._session = session
        self._step = step
        self._tokenizer = tokenizer
        self._without_rows = signature.without_rows
        self._answer = answerer(step.answer, signature, [spec.name for spec in step.model_signature.outputs])
        self._inputs = [(spec.name, spec.datatype.dtype, int(spec.padding or 0)) for spec in step.model_signature.inputs]

    def run(self, inputs: Tensors) -> list[Tensor]:
        rows = [self._encoded(row) for row in zip(*(inputs[name].ravel().tolist() for name in self._step.texts), strict=True)]
        if not rows:
            return self._without_rows()
        order = sorted(range(len(rows)), key=lambda at: len(rows[at].tokens))
        parts = [self._answers([rows[at] for at in chosen]) for chosen in self._together(rows, order)]
        back = np.argsort(np.array(order, dtype=np.int64))
        return [np.concatenate(found)[back] for found in zip(*parts, strict=True)]

    def close(self) -> None:
        self._session.close()

    def _encoded(self, row: Sequence[object]) -> Encoded:
        step = self._step
        texts = tuple(self._text(item, name) for item, name in zip(row, step.texts, strict=True))
        try:
            tokens = self._tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)
        except Exception as error:  # as above: a question that leaves no room for its context, a lone surrogate
            raise InvalidInput(f"the text cannot be cut into tokens: {error}", hint=f"this model reads {step.max_tokens} tokens") from error
        if not len(tokens):
            raise InvalidInput("the text has no token", hint="send a text that is not empty")
        return Encoded(texts=texts, tokens=tokens)

    def _text(self, item: object, name: str) -> str:
        if item is None:
            raise InvalidInput(f"input '{name}' has a missing element, and this model takes none", hint="send text for every element")
        text = text_of(item, name)
        if len(text) > MAX_CHARACTERS:
            raise TooLarge(f"input '{name}': a text of {len(text)} characters", hint=f"at most {MAX_CHARACTERS} are taken: cut it first")
        return self._step.prefix + text

    def _together(self, rows: list[Encoded], order: list[int]) -> list[list[int]]:
        """Rows by length, in groups that fit into one call."""
        groups: list[list[int]] = [[]]
        for at in order:
            if groups[-1] and (len(groups[-1]) + 1) * len(rows[at].tokens) > _MAX_TOKENS_A_CALL:
                groups.append([])
            groups[-1].append(at)
        return groups

    def _answers(self, rows: list[Encoded]) -> list[Tensor]:
        longest = max(len(row.tokens) for row in rows)
        feeds: dict[str, Tensor] = {}
        for name, dtype, fill in self._inputs:
            tensor = np.full((len(rows), longest), fill, dtype=dtype)
            for at, row in enumerate(rows):
                values = getattr(row.tokens, _SOURCES[name])
                place = slice(0, len(values)) if self._step.pads == "right" else slice(longest - len(values), longest)
                tensor[at, place] = values
            feeds[name] = tensor
        outputs = self._session.run(feeds)
        shift = [0 if self._step.pads == "right" else longest - len(row.tokens) for row in rows]
        return self._answer(rows, shift, outputs)

"""Texts for a model of texts: the columns of a person's sample, or a few in several tongues where there is none. Called by `huggingface.py`."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.tensors import Tensor
from aweigh.packing.sample import column_tensor, read_sample

MADE_TEXTS: Final = [
    "The ship left the harbour at dawn.",
    "yes",
    "How do I reset my password?",
    "Maria Schmidt moved from Berlin to New York in 2019 and works for the United Nations.",
    "I would not recommend this: it broke after two days, and nobody answered my letters!",
    "A wonderful film, the best I have seen in years.",
    "the quick brown fox jumps over the lazy dog",
    "Prices rose by 3.5 % (to €1,299.00) on 24/12/2025.",
    "Der Anker wird gelichtet, sobald der Wind dreht.",
    "Où se trouve la gare, s'il vous plaît ?",
    "今日は天気がいいですね。",
    "Привет, как дела?",
    "def anchor(depth): return depth * 3  # metres of chain",
    "https://example.org/a?b=c&d=1#top someone@example.org",
    "REFUND!!! NOW!!!",
    (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of belief, "
        "it was the epoch of incredulity, it was the season of light, it was the season of darkness, it was the spring of hope."
    ),
    "Water boils at 100 degrees Celsius at sea level.",
    "cat",
    "unbelievably uncharacteristically antidisestablishmentarianism",
    "1 2 3 4 5 6 7 8 9 10",
    "Two texts that say the same thing differ in their words alone.",
    "no",
    "Who wrote the report, and when was it sent?",
    "She sells sea shells by the sea shore.",
]


ODD_TEXTS: Final = [
    "",
    " ",
    "\t \r\n",
    "ISPARTA ılık İzmir'de DİYARBAKIR ıŞıK",
    "cafe\u0301 café ﬁancée Å A\u030a ﷺ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ⚓️ 1️⃣",
    "\u200bzero\u200dwidth\u00a0space\ufeff\u202eright to left",
    "שלום עולם مرحبا بالعالم สวัสดี",
    "漢字かな交じり文 한국어 中文",
    "[CLS] [SEP] [PAD] [MASK] <s> </s> <unk> <|endoftext|>",
    "nul\x00 bell\x07 \ufffd \U0010ffff",
    "a" * 400,
    "anchor " * 1200,
    "naïve Straße ŁÓDŹ ﬀ ǅ ẞ",
]
"""What tokenizers differ about: case of Turkish, marks that combine, joined emoji, spaces of no width, other scripts, words of the tokenizer itself, length."""
_LABELS: Final = frozenset({"label", "labels", "target", "targets"})


def text_rows(sample: object) -> list[Tensor]:
    """The columns of text in a sample, one or two, [rows, 1] each, whatever they are called; labels are none of them. Raises InvalidInput."""
    read = read_sample(sample)
    if read.form == "frame":
        columns = {str(name): column_tensor(read.data[name], str(name)) for name in read.data.columns}
    elif read.form == "tensors":
        columns = {str(name): tensor for name, tensor in read.data.items()}
    else:
        columns = {"": np.asarray(read.data)}
    texts = [
        column.astype(object).reshape(-1, 1)
        for name, column in columns.items()
        if column.dtype.kind in "OUS" and column.size == len(column) and name.lower() not in _LABELS
    ]
    if not 1 <= len(texts) <= 2:
        raise InvalidInput(
            f"the sample has {len(texts)} columns of text ({', '.join(columns)[:200]})",
            hint="give the texts alone: one column, or two for a model of pairs; labels go into --labels",
        )
    for column in texts:
        absent = [at for at, item in enumerate(column.ravel().tolist()) if item is None]
        if absent:
            raise InvalidInput(
                f"row {absent[0]} of the sample has no text", hint='leave the row out, or write an empty text as "" in JSON lines'
            )
    return texts


def odd_rows(names: Sequence[str]) -> dict[str, Tensor]:
    """Odd texts as rows of these inputs: beside a plain text each, in turn, where there are two."""
    odd, plain = ODD_TEXTS, [MADE_TEXTS[0]] * len(ODD_TEXTS)
    columns = (odd,) if len(names) == 1 else (odd + plain + odd, plain + odd + odd[::-1])
    return {name: np.array(column, dtype=object).reshape(-1, 1) for name, column in zip(names, columns, strict=True)}

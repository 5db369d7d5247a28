"""The response cache: answers that equal requests get again. Off unless it is given memory; of the models of one process together.

A key is the digest of what answers (package, variant, version) and of what was asked (every input's shape and bytes), so a new version never
answers from an old one's entries. Least recently used goes first. Lives on the event loop; called by the data plane.
"""

import hashlib
import itertools
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Final

import numpy as np

from aweigh.core.evidence import Evidence
from aweigh.core.names import Digest
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.statistics import ModelStatistics

MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Digests and copies of more would hold up the event loop: larger requests are not looked up, larger answers not kept."""
ENTRY_BYTES: Final = 512
"""What an entry takes beside its tensors: key, tuples, numbers, and its share of the table, which is twice as large after it has grown."""
ARRAY_BYTES: Final = 160
"""What an array takes beside its data."""

Entry = tuple[int, int, tuple[Tensor, ...]]
"""Bytes, when it was last used, and outputs. A tuple of arrays is nothing that the garbage collector would walk."""


def why_not_cached(*, runs_code: bool, evidence: Evidence | None) -> str:
    """Why answers of a variant are never given again; empty where they may be.

    Deterministic as far as is known is a variant whose files bring no code of their own, and which answered the proof's largest case twice with
    the same bytes.
    """
    if runs_code:
        return "the package brings code of its own, of which nobody knows whether it answers the same twice"
    check = evidence.check("determinism") if evidence is not None and evidence.passed else None
    if check is None or not check.passed or not check.figures.get("bit_equal"):
        return "its evidence does not say that it answers the same bytes twice"
    return ""


class Responses:
    """The answers of one model. `recall` before it runs, `remember` after it."""

    __slots__ = ("_cache", "_entries", "_inputs", "_start", "_statistics", "dropped")

    def __init__(self, cache: "ResponseCache", start: bytes, signature: Signature, statistics: ModelStatistics) -> None:
        self._cache = cache
        self._start = hashlib.sha256(start)
        self._inputs = tuple(spec.name for spec in signature.inputs)
        self._statistics = statistics
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.dropped = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> int:
        """When the entry that was not used for longest was used."""
        return next(iter(self._entries.values()))[1]

    def recall(self, inputs: Tensors) -> tuple[bytes, list[Tensor] | None]:
        """The key of accepted inputs, empty where they are not looked up; and the answer, read-only, if it is known. Counted."""
        began = perf_counter()
        key = self._key(inputs)
        if not key:
            return key, None
        entry = self._entries.get(key)
        ended = perf_counter()
        if entry is None:
            self._statistics.cache_miss(ended - began)
            return key, None
        self._entries[key] = (entry[0], next(self._cache.clock), entry[2])
        self._entries.move_to_end(key)
        self._statistics.last = ended
        self._statistics.cache_hit(ended - began)
        return key, list(entry[2])

    def remember(self, key: bytes, outputs: Sequence[Tensor]) -> None:
        """Keep a copy of an answer, and let go of what was not used for longest."""
        if not key or self.dropped or sum(output.nbytes for output in outputs) > MAX_ANSWER_BYTES:
            return
        began = perf_counter()
        kept = tuple([_fixed(output) for output in outputs])
        size = ENTRY_BYTES + sum(map(_size, kept))
        if size <= self._cache.limit_bytes and key not in self._entries:
            self._entries[key] = (size, next(self._cache.clock), kept)
            self._statistics.cache_bytes += size
            self._cache.take(size)
        ended = perf_counter()
        self._statistics.cache_miss_s += ended - began
        self._statistics.last = ended  # encoding begins now

    def forget_oldest(self) -> int:
        """Let go of the entry that was not used for longest; its bytes."""
        size: int = self._entries.popitem(last=False)[1][0]
        self._statistics.cache_bytes -= size
        return size

    def drop(self) -> None:
        """Let go of everything, and keep nothing any more."""
        self.dropped = True
        size = sum(entry[0] for entry in self._entries.values())
        self._entries = OrderedDict()
        self._statistics.cache_bytes -= size
        self._cache.give_back(self, size)

    def _key(self, inputs: Tensors) -> bytes:
        """Empty for what is too large, or holds what is neither text nor bytes."""
        tensors = [inputs[name] for name in self._inputs]
        if sum([tensor.nbytes for tensor in tensors]) > MAX_REQUEST_BYTES:
            return b""
        digest = self._start.copy()
        for tensor in tensors:
            digest.update(struct.pack(f"<{1 + tensor.ndim}q", tensor.ndim, *tensor.shape))
            if tensor.dtype != object:
                digest.update(np.ascontiguousarray(tensor).data)
                continue
            text = _text_form(tensor.ravel().tolist())
            if not text:
                return b""
            digest.update(text)
        return digest.digest()


class ResponseCache:
    """The memory that the answers of all models of a process share."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.clock = itertools.count()
        self._models: list[Responses] = []

    def of(self, digest: Digest, variant: str, version: str, signature: Signature, statistics: ModelStatistics) -> Responses:
        """The answers of a model, none yet."""
        start = _text_form([digest, variant, version])
        made = Responses(self, start, signature, statistics)
        self._models.append(made)
        return made

    def take(self, size: int) -> None:
        """Count what was added, and make room for it."""
        self.bytes += size
        while self.bytes > self.limit_bytes:
            self.bytes -= min([model for model in self._models if len(model)], key=_oldest).forget_oldest()

    def give_back(self, model: Responses, size: int) -> None:
        """Count what a model let go of when it left."""
        self.bytes -= size
        self._models = [each for each in self._models if each is not model]


def _oldest(model: Responses) -> int:
    return model.oldest


def _text_form(items: Iterable[object]) -> bytes:
    """Each item with its kind and length before it; empty where one is neither text nor bytes nor missing, or all are too long."""
    parts: list[bytes] = []
    size = 0
    for item in items:
        if item is None:
            parts.append(b"n")
            continue
        if not isinstance(item, str | bytes):
            return b""
        data = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
        size += len(data)
        if size > MAX_REQUEST_BYTES:
            return b""
        parts += (b"s" if isinstance(item, str) else b"b", struct.pack("<q", len(data)), data)
    return b"".join(parts) or b"-"


def _fixed(tensor: Tensor) -> Tensor:
    """A copy that nobody can change: over bytes, or marked read-only where it holds text, which cannot change itself."""
    if tensor.dtype != object:
        fixed: Tensor = np.ndarray(tensor.shape, tensor.dtype, tensor.tobytes())
        return fixed
    copy = tensor.copy()
    copy.setflags(write=False)
    return copy


def _size(tensor: Tensor) -> int:
    """Bytes that a kept tensor takes, everything about it counted."""
    around = ARRAY_BYTES + 16 * tensor.ndim
    if tensor.dtype != object:
        return around + sys.getsizeof(tensor.base)
    return around + tensor.nbytes + sum(map(sys.getsizeof, tensor.ravel().tolist()))

"""The structure of a JSON body, counted before anything is built of it: what a few bytes of JSON make of memory is many times their size.

Called by the REST dialects for bodies large enough to matter. Nothing here may take memory that grows with the body, or look at it byte by byte.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from aweigh.core.errors import InvalidInput, TooLarge

LARGE: Final = 64 * 1024
"""Below this many bytes the worst body costs little, whatever it holds."""
_BLOCK: Final = 256 * 1024
_QUOTE, _COMMA, _KEY, _LIST, _OBJECT = b'",:[{'
_OPEN, _CLOSE = 0x5B, 0x5D
_ANY, _BRACKET = 0x26, 0x7F
"""Bits by which the four brackets differ, and all of them with those set."""
_CASE: Final = 0xDF
"""Clears the bit by which braces differ from brackets."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What stands outside of texts. As many commas as there are values, but one for each list or object that is not empty."""

    commas: int
    keys: int
    lists: int
    objects: int


def structure(body: bytes | memoryview, max_depth: int) -> Structure:
    """Count. Raises InvalidInput where brackets nest deeper than `max_depth`."""
    commas = keys = lists = objects = depth = in_text = 0
    for block in _blocks(memoryview(body)):
        codes = np.frombuffer(block, dtype=np.uint8)
        if in_text or b'"' in block:
            texts = np.cumsum(codes == _QUOTE, dtype=np.uint8)  # it may overflow: only the last bit says anything
            texts += np.uint8(in_text)
            texts &= np.uint8(1)
            in_text = int(texts[-1])
            codes = codes[texts == 0]
        commas += int(np.count_nonzero(codes == _COMMA))
        keys += int(np.count_nonzero(codes == _KEY))
        lists += int(np.count_nonzero(codes == _LIST))
        objects += int(np.count_nonzero(codes == _OBJECT))
        depth = _depth(codes, depth, max_depth)
    return Structure(commas=commas, keys=keys, lists=lists, objects=objects)


def _depth(codes: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", depth: int, max_depth: int) -> int:
    kinds = codes & np.uint8(_CASE)
    brackets = kinds[(kinds == _OPEN) | (kinds == _CLOSE)]
    if not len(brackets):
        return depth
    depths = np.cumsum(np.where(brackets == _OPEN, np.int8(1), np.int8(-1)), dtype=np.int32)
    if depth + int(depths.max()) > max_depth:
        raise InvalidInput(f"the JSON body nests deeper than {max_depth}", hint="flatten it; max_json_depth sets the limit")
    return depth + int(depths[-1])


def _blocks(body: memoryview) -> Iterator[bytes]:
    """The body in pieces, escaped quotes and backslashes taken out: each quote that is left begins or ends a text."""
    at, size = 0, len(body)
    while at < size:
        end = min(at + _BLOCK, size)
        block = bytes(body[at:end])
        if b"\\" in block:
            if (len(block) - len(block.rstrip(b"\\"))) % 2 and end < size:  # an escape is not cut in two
                block += bytes(body[end : end + 1])
                end += 1
            block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        at = end
        if block:
            yield block


def check_counts(found: Structure, *, values: int, lists: int, objects: int) -> None:
    """Raise TooLarge for more than a request of this kind can hold. Commas stand for values."""
    for count, limit, what in ((found.commas, values, "values"), (found.lists, lists, "lists"), (found.objects, objects, "objects")):
        if count > limit:
            raise TooLarge(
                f"the JSON body holds {count} {what}; a request to this model holds {limit} at most", hint="send fewer rows in one request"
            )


def count_tokens(body: bytes) -> int:
    """Everything that a parser notes of a body: what stands between white space and commas, brackets, colons, quotes. Quicker than `structure`."""
    codes, count = np.frombuffer(body, dtype=np.uint8), 0
    for at in range(0, len(codes), _BLOCK):
        block = codes[at : at + _BLOCK]
        ends = block <= _COMMA  # white space, commas, quotes; and signs, which only make the count larger
        count += int(np.count_nonzero(ends[:-1] & ~ends[1:])) + 1
        count += int(np.count_nonzero(block == _COMMA)) + int(np.count_nonzero(block == _QUOTE)) + int(np.count_nonzero(block == _KEY))
        count += int(np.count_nonzero((block | np.uint8(_ANY)) == _BRACKET))
    return count


def check_unique(body: bytes, expected: int) -> None:
    """Raise InvalidInput where an object has a key twice: two readers would see two requests. `expected` keys were understood."""
    if body.count(b":") != expected and structure(body, len(body)).keys != expected:
        try:  # there are keys that nobody asks for: look closer
            json.loads(body.decode(), object_pairs_hook=_unique)
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the body is not UTF-8 at byte {error.start}", hint="JSON is sent in UTF-8") from None
        except json.JSONDecodeError as error:
            raise InvalidInput(f"the body is not JSON: {error}", hint="send a JSON object") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) != len(dict(pairs)):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise InvalidInput(f"the key {twice[:80]!r} is given twice in one object", hint="send each key once")

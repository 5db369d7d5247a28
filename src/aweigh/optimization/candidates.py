"""A candidate: a variant on its way, the files it consists of, and what was done to make it."""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import StoreUnavailable
from aweigh.core.package import Departure, Variant
from aweigh.core.signature import Signature, Tolerance
from aweigh.optimization.passing import Declaration, Kind, Made, Way

_TOLERANCES: Final = {
    "fp16": Tolerance(atol=1e-3, rtol=1e-2, scale=2e-3), "bf16": Tolerance(atol=1e-2, rtol=3e-2, scale=8e-3), "fp32": Tolerance(atol=1e-5, rtol=1e-4, scale=2e-6),
}  # fmt: skip
_QUANTISED: Final = Tolerance(atol=1e-3, rtol=1e-2, scale=2e-2)
"""Of integers: a value that rounds to the neighbouring step moves what is computed from it by a step."""
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9.-]+")
_MAX_NAME: Final = 100
_DIGITS: Final = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant with its files. `chain` says what was done, `kinds` of what kind each pass was, `key` is its `form_key`, "" until somebody needs it."""

    variant: Variant
    files: Mapping[str, Path]
    base: str
    chain: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    departs: bool = False
    composes: bool = True
    notes: tuple[str, ...] = ()
    key: str = ""

    @property
    def own(self) -> bool:
        """Whether it is one of the package's own."""
        return not self.chain

    def bare_files(self) -> dict[str, str]:
        """What a pass is given."""
        return {file: str(self.files[file]) for file in self.variant.bare().files}


def step_of(name: str, way: Way) -> str:
    """A pass and its way in words."""
    return f"{name} ({way.name})" if way.name else name


def name_of(words: tuple[str, ...]) -> str:
    """Of a variant, by what it was made of and what was done to make it. A long one ends in digits of a digest, since others may begin as it does."""
    name = _NOT_A_NAME.sub("-", "-".join(words).lower()).strip("-.")
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - _DIGITS - 1].rstrip('-.')}-{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}"


def form_key(candidate: Candidate, digests: Mapping[str, str]) -> str:
    """A digest of all that a candidate is to the passes that go on from it, with the digests of its files: the same in whatever version of a package it is, and before it was in
    any. What is known of it is left out, as its evidence is."""
    variant = msgspec.structs.replace(candidate.variant, name="", departure=None, base="", passes=(), evidence=None)
    files = [(file, digests[file]) for file in variant.files]
    told = (candidate.base, candidate.chain, candidate.departs, msgspec.to_builtins(variant), files)
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:32]


def digests_of(candidate: Candidate) -> dict[str, str]:
    """Of its files, read. Raises StoreUnavailable where one cannot be."""
    found = {}
    for file, place in candidate.files.items():
        try:
            with place.open("rb") as stream:
                found[file] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        except OSError as error:
            raise StoreUnavailable(f"{place} cannot be read: {error.strerror}", hint="begin the search again") from error
    return found


def key_of(parent: str, name: str, way: Way, decides: Mapping[str, object]) -> str:
    """A digest of all that decides what a pass makes of the candidate with the key `parent`."""
    told = {"parent": parent, "pass": name, "way": msgspec.to_builtins(way), **decides}
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:32]


def derived(parent: Candidate, step: str, name: str, made: Made, *, declared: Declaration) -> Candidate:
    """What a pass made of a candidate, with the step around it kept."""
    own = {f"variants/{name}/{path}": Path(file) for path, file in made.files.items()}
    step_files = parent.variant.step.files if parent.variant.step else ()
    variant = msgspec.structs.replace(
        parent.variant,
        name=name,
        runtime=made.runtime,
        precision=made.precision,
        options=made.options,
        environment=made.environment or parent.variant.environment,
        files=(*own, *step_files),
        departure=None,
        base="",
        passes=(),
        evidence=None,
    )
    return Candidate(
        variant=variant,
        files={**own, **{file: parent.files[file] for file in step_files}},
        base=parent.base,
        chain=(*parent.chain, step),
        kinds=(*parent.kinds, declared.kind),
        departs=declared.departs or parent.departs,
        composes=declared.composes,
        notes=made.notes,
    )


def departure(candidate: Candidate, keep: str, signature: Signature) -> Departure:
    """How its variant departs from the source; without its own golden set, which comes from its answers."""
    bound = _TOLERANCES.get(candidate.variant.precision, _QUANTISED)
    floats = [spec.name for spec in signature.outputs if spec.datatype.is_float]
    return Departure(base=candidate.base, passes=candidate.chain, keep=keep, tolerances=dict.fromkeys(floats, bound))

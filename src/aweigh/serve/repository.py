"""The repository API's load and unload, whatever the door: a plain change, or, by parameters, a rollout that begins or ends.

`load` with `canary` or `shadow` (and `version`, `sticky`, `promote_after`, `bounds`) begins a rollout, `load` with `promote` lets its candidate take
over, `unload` with `rollback` ends it. Triton's clients send no parameters of their own, but a configuration: what stands in its `version_policy`
and `parameters` counts as such; any other configuration is refused, for models are as they were packed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.core.rollout import Bounds, Plan, parse_share
from aweigh.engine.dataplane import Control, DataPlane, RolloutControl
from aweigh.serve.model_facts import requested_version

Done = Callable[[Any, AweighError | None], None]
_TRIAL: Final = frozenset({"canary", "shadow", "sticky", "promote_after", "bounds"})


def load(dataplane: DataPlane, name: str, parameters: Mapping[str, object], done: Done) -> None:
    """Load a version, or begin or promote a rollout, as the parameters say. Raises AweighError for parameters that are none, and what it was told."""
    parameters = _parameters(parameters)
    version = requested_version(parameters)
    if _flag(parameters, "promote"):
        rollouts_of(dataplane).promote(name, done)
    elif _TRIAL.isdisjoint(parameters):
        control_of(dataplane).load(name, version, done)
    else:
        rollouts_of(dataplane).begin(_plan(name, version, parameters), done)


def unload(dataplane: DataPlane, name: str, parameters: Mapping[str, object], done: Done) -> None:
    """Unload a model, or roll it back. Raises as `load`."""
    if _flag(parameters, "rollback"):
        rollouts_of(dataplane).rollback(name, done)
    else:
        control_of(dataplane).unload(name, done)


def control_of(dataplane: DataPlane) -> Control:
    """What loads and unloads. Raises Unsupported where nothing does."""
    if dataplane.control is None:
        raise Unsupported("this server has no repository to load models from", hint="'aweigh serve' has: it serves from the store")
    return dataplane.control


def rollouts_of(dataplane: DataPlane) -> RolloutControl:
    """What rolls versions out. Raises Unsupported where nothing does."""
    if dataplane.rollouts is None:
        raise Unsupported("this server rolls nothing out: its models stay as they are", hint="serve with 'aweigh serve'")
    return dataplane.rollouts


class _Specific(msgspec.Struct, forbid_unknown_fields=True):
    versions: tuple[int] = (0,)


class _Policy(msgspec.Struct, forbid_unknown_fields=True):
    specific: _Specific


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    string_value: str


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    version_policy: _Policy | None = None
    parameters: dict[str, _Text] = {}


_decode_config: Final = msgspec.json.Decoder(_Config).decode


def _parameters(given: Mapping[str, object]) -> Mapping[str, object]:
    """With what a configuration says in their place, where it says nothing else."""
    if not isinstance(text := given.get("config"), str):
        return given
    try:
        config = _decode_config(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return given  # refused as any parameter that is not taken
    found: dict[str, object] = {name: _value(each.string_value) for name, each in config.parameters.items()}
    if config.version_policy is not None:
        found["version"] = config.version_policy.specific.versions[0]
    return {**found, **{name: value for name, value in given.items() if name != "config"}}


def _value(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _plan(name: str, version: int | None, parameters: Mapping[str, object]) -> Plan:
    promote_after = parameters.get("promote_after", 0)
    if isinstance(promote_after, bool) or not str(promote_after).isdigit():
        raise InvalidInput(f"promote_after {str(promote_after)[:40]!r} is no number of requests")
    return Plan(
        name=name,
        candidate=version or 0,
        canary=_share(parameters, "canary"),
        shadow=_share(parameters, "shadow"),
        sticky=str(parameters.get("sticky", "")),
        promote_after=int(str(promote_after)),
        bounds=_bounds(parameters.get("bounds", {})),
    )


def _share(parameters: Mapping[str, object], name: str) -> float:
    """`0.1`, `"10%"`, and for all of it `true` or 1."""
    given = parameters.get(name, 0.0)
    try:
        return float(given) if isinstance(given, bool) else parse_share(str(given))
    except InvalidInput as error:
        raise InvalidInput(f"the parameter '{name}' is {str(given)[:40]!r}: that is no share", hint=error.hint) from None


def _bounds(given: object) -> Bounds:
    """An object, or its text where the protocol has no objects."""
    try:
        return msgspec.json.decode(given, type=Bounds) if isinstance(given, str) else msgspec.convert(given, Bounds)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        hint = 'such as {"requests": 100, "errors": 0.01, "latency": 2, "difference": null, "flips": 0.05}'
        raise InvalidInput(f"the parameter 'bounds' cannot be read: {error}", hint=hint) from None


def _flag(parameters: Mapping[str, object], name: str) -> bool:
    given = parameters.get(name, False)
    if not isinstance(given, bool):
        raise InvalidInput(f"the parameter '{name}' is {str(given)[:40]!r}: expected true or false")
    return given

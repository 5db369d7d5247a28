"""What a server is to serve: versions in order, the last of a name being its default, and what is tried out. Held by the supervisor; workers converge on it."""

from collections.abc import Sequence

from aweigh.core.rollout import Plan
from aweigh.serve.workers.messages import Version


class Desired:
    """The same rules as the data plane's, without sessions. `generation` grows with every change."""

    def __init__(self, models: Sequence[Version]) -> None:
        self.models = tuple(models)
        self.plans: tuple[Plan, ...] = ()
        self.generation = 1

    def take_over(self, model: Version) -> None:
        """A version takes over its name from the default, or from itself."""
        default = [known for known in self.models if known.name == model.name][-1:]
        self.models = (*(known for known in self.models if known != model and known not in default), model)
        self.generation += 1

    def join(self, model: Version, *, default: bool) -> None:
        """A version is served beside the others of its name, also for the bare name where it is the `default`, or the first."""
        others = [known for known in self.models if known != model]
        at = len(others)
        if not default:
            at = next((place for place in range(at - 1, -1, -1) if others[place].name == model.name), at)
        self.models = (*others[:at], model, *others[at:])
        self.generation += 1

    def drop(self, model: Version) -> None:
        """A version is served no more."""
        if model in self.models:
            self.models = tuple(known for known in self.models if known != model)
            self.generation += 1

    def try_out(self, plan: Plan) -> None:
        """A version that is served answers its share of a name's requests."""
        self.plans = (*(known for known in self.plans if known.name != plan.name), plan)
        self.generation += 1

    def try_no_more(self, name: str) -> None:
        """All requests of a name are its default's again."""
        self.plans = tuple(known for known in self.plans if known.name != name)
        self.generation += 1

    def versions(self, name: str) -> list[int]:
        """The versions of a name, what its bare name means last."""
        return [known.number for known in self.models if known.name == name]

    def remove(self, name: str) -> bool:
        """Take a name away; False when it was not there."""
        kept = tuple(known for known in self.models if known.name != name)
        changed = kept != self.models
        self.models = kept
        self.generation += changed
        return changed

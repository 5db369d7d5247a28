"""What a server is to serve: versions in order, the last of a name being its default. Held by the supervisor, converged on by every worker."""

from collections.abc import Sequence

from aweigh.serve.workers.messages import Version


class Desired:
    """The same rules as the data plane's, without sessions. `generation` grows with every change."""

    def __init__(self, models: Sequence[Version]) -> None:
        self.models = tuple(models)
        self.generation = 1

    def take_over(self, model: Version) -> None:
        """A version takes over its name from the default, or from itself."""
        default = [known for known in self.models if known.name == model.name][-1:]
        self.models = (*(known for known in self.models if known != model and known not in default), model)
        self.generation += 1

    def remove(self, name: str) -> bool:
        """Take a name away; False when it was not there."""
        kept = tuple(known for known in self.models if known.name != name)
        changed = kept != self.models
        self.models = kept
        self.generation += changed
        return changed

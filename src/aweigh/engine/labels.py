"""Labels: words that stand for a version of a model in requests, `champion` for 3. The store's aliases, as far as the server follows them. Pure."""

from collections.abc import Collection, Mapping


class Labels:
    """The labels of every name. A label in use stays with its version until the version that it is moved to is loaded, unless `unavailable` are allowed.

    The rule is TensorFlow Serving's, and the setting that lifts it is its allow_version_labels_for_unavailable_models.
    """

    def __init__(self, *, unavailable: bool) -> None:
        self._unavailable = unavailable
        self._known: dict[str, dict[str, str]] = {}

    def version(self, name: str, label: str) -> str:
        """The version that a label stands for; empty where there is no such label."""
        return self._known.get(name, {}).get(label, "")

    def of(self, name: str) -> dict[str, str]:
        """The labels of a name and their versions."""
        return dict(self._known.get(name, {}))

    def assign(self, name: str, wanted: Mapping[str, int], loaded: Collection[str]) -> list[str]:
        """Take over what labels a name has now; those that cannot be moved yet, which stay where they are.

        A label that is new may stand for a version that is not loaded only where that is allowed; until then it is not known.
        """
        before = self._known.get(name, {})
        after: dict[str, str] = {}
        refused: list[str] = []
        for label, number in sorted(wanted.items()):
            version = str(number)
            if version in loaded or self._unavailable or before.get(label) == version:
                after[label] = version
                continue
            refused.append(label)
            if label in before:
                after[label] = before[label]
        self._known[name] = after
        if not after:
            del self._known[name]
        return refused

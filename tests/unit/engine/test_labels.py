"""Labels stand for loaded versions, and move only to loaded ones."""

from aweigh.engine.labels import Labels


def test_labels_of_loaded_versions() -> None:
    labels = Labels(unavailable=False)
    assert labels.assign("iris", {"stable": 1, "canary": 2}, {"1", "2"}) == []
    assert labels.of("iris") == {"stable": "1", "canary": "2"}
    assert labels.version("iris", "canary") == "2"
    assert labels.version("iris", "none") == labels.version("rose", "stable") == ""
    assert labels.assign("iris", {"stable": 2}, {"1", "2"}) == []
    assert labels.of("iris") == {"stable": "2"}
    assert labels.assign("iris", {}, {"2"}) == []
    assert labels.of("iris") == {}


def test_assign_existing_label_to_unavailable_version_disallowed() -> None:
    """server_core_test.cc of TensorFlow Serving, AssignExistingLabelToUnavailableVersionDisallowed: it stays where it was, and is told of."""
    labels = Labels(unavailable=False)
    labels.assign("iris", {"stable": 1}, {"1"})
    assert labels.assign("iris", {"stable": 2, "fresh": 2}, {"1"}) == ["fresh", "stable"]
    assert labels.of("iris") == {"stable": "1"}
    assert labels.assign("iris", {"stable": 2, "fresh": 2}, {"1", "2"}) == []
    assert labels.of("iris") == {"stable": "2", "fresh": "2"}


def test_a_label_stays_with_its_version_when_that_is_gone() -> None:
    labels = Labels(unavailable=False)
    labels.assign("iris", {"stable": 1}, {"1"})
    assert labels.assign("iris", {"stable": 1}, set()) == []
    assert labels.version("iris", "stable") == "1"


def test_assign_label_to_unavailable_version_allowed() -> None:
    """server_core_test.cc of TensorFlow Serving, the same with allow_version_labels_for_unavailable_models."""
    labels = Labels(unavailable=True)
    labels.assign("iris", {"stable": 1}, {"1"})
    assert labels.assign("iris", {"stable": 2, "fresh": 3}, {"1"}) == []
    assert labels.of("iris") == {"stable": "2", "fresh": "3"}

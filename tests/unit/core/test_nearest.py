"""Mistyped words."""

from aweigh.core.nearest import nearest


def test_the_nearest_of_the_known_words_or_nothing() -> None:
    assert nearest("iriss", ["wine", "iris", "iris2"]) in {"iris", "iris2"}
    assert nearest("zebra", ["iris", "wine"]) == ""
    assert nearest("x", []) == ""

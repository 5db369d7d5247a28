"""The one reading of `latest:2; fraud=specific:1,3`, and which stored versions it selects."""

import pytest

from aweigh.core.errors import InvalidSetting
from aweigh.core.version_policy import Selection, VersionPolicy, parse_version_policy


def test_what_is_understood() -> None:
    assert parse_version_policy("") == VersionPolicy() == parse_version_policy("latest:1")
    assert parse_version_policy("latest").every == Selection()
    assert parse_version_policy("all").every == Selection(kind="all")
    assert parse_version_policy(" specific: 3, 1,3 ").every == Selection(kind="specific", numbers=(1, 3))
    policy = parse_version_policy("latest:2; fraud=specific:1,3; churn = all")
    assert policy.every == Selection(count=2)
    assert policy.of("fraud") == Selection(kind="specific", numbers=(1, 3))
    assert policy.of("churn") == Selection(kind="all")
    assert policy.of("other") == policy.every


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("newest", "'newest' is not a version policy"),
        ("latest:0", "'latest:0' is not a version policy"),
        ("latest:1,2", "is not a version policy"),
        ("latest:1001", "is not a version policy"),
        ("specific:", "is not a version policy"),
        ("specific:a", "is not a version policy"),
        ("specific:²", "is not a version policy"),
        ("all:1", "is not a version policy"),
        ("latest; all", "says twice what is served of every name"),
        ("fraud=all; fraud=latest", "says twice what is served of 'fraud'"),
        ("Fraud=all", "is not a model name"),
        ("=all", "is not a model name"),
    ],
)
def test_what_is_not(text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as error:
        parse_version_policy(text)
    assert error.value.hint


def test_what_is_selected_and_what_a_bare_name_means() -> None:
    stored = (1, 2, 3, 4)
    assert Selection().of(stored) == (4,)
    assert Selection(count=2).of(stored) == (3, 4)
    assert Selection(kind="all").of(stored) == stored
    assert Selection(kind="specific", numbers=(1, 3, 9)).of(stored) == (1, 3)
    assert Selection().of(()) == ()


def test_the_live_version_counts_as_the_latest() -> None:
    stored = (1, 2, 3, 4)
    assert Selection().of(stored, 2) == (2,)
    assert Selection(count=2).of(stored, 2) == (4, 2)
    assert Selection(kind="all").of(stored, 2) == (1, 3, 4, 2)
    assert Selection(kind="specific", numbers=(1, 2, 3)).of(stored, 1) == (2, 3, 1)
    assert Selection().of(stored, 9) == (4,), "an alias of a version that is gone says nothing"

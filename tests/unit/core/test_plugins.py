import importlib.metadata
import sys

import pytest

from aweigh.core import plugins
from aweigh.core.errors import Conflict, MissingLibrary, Unsupported
from aweigh.core.plugins import Plugin


@pytest.fixture
def table(monkeypatch):
    """Sets aweigh's own rows and the entry points of strangers, and forgets the table before and after."""

    def put(*rows: Plugin, strangers: dict[str, list[importlib.metadata.EntryPoint]] | None = None) -> None:
        plugins._table.cache_clear()
        monkeypatch.setattr(plugins, "_BUILT_IN", rows)
        monkeypatch.setattr(plugins, "_has_strangers", lambda: bool(strangers))
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: (strangers or {}).get(group, []))

    yield put
    plugins._table.cache_clear()


def point(name: str, value: str, kind: str = "runtime") -> dict[str, list[importlib.metadata.EntryPoint]]:
    return {f"aweigh.{kind}": [importlib.metadata.EntryPoint(name=name, value=value, group=f"aweigh.{kind}")]}


def test_the_table_is_read_without_importing_anything(monkeypatch):
    plugins._table.cache_clear()
    before = set(sys.modules)
    for row in plugins._BUILT_IN:
        assert plugins.plugin(row.kind, row.name) == row
        row.missing()
    assert not {name for name in set(sys.modules) - before if name.startswith(("aweigh.", "onnx", "sklearn"))}
    plugins._table.cache_clear()


def test_every_row_with_libraries_names_the_extra_that_brings_them_or_is_in_the_base_install():
    declared = set(importlib.metadata.metadata("aweigh").get_all("Provides-Extra") or ())
    for row in plugins._BUILT_IN:
        assert not row.extra or row.extra in declared, row
        assert row.extra or set(row.libraries) <= {"onnxruntime", "numpy"}, row


def test_two_plugins_of_one_name_are_a_conflict(table):
    row = Plugin(kind="runtime", name="x", target="a:b")
    table(row, row)
    with pytest.raises(Conflict, match="two plug-ins of kind 'runtime' are named 'x': a:b and a:b"):
        plugins.plugins("runtime")
    table(row, strangers=point("x", "stranger:Runtime"))
    with pytest.raises(Conflict, match="a:b and stranger:Runtime"):
        plugins.load("runtime", "x")


def test_a_stranger_adds_a_row_that_says_where_it_is_from(table):
    table(Plugin(kind="runtime", name="x", target="a:b"), strangers=point("y", "fractions:Fraction"))
    own, stranger = plugins.plugins("runtime")
    assert own.name == "x"
    assert "not proven by aweigh" in stranger.experimental
    from fractions import Fraction

    assert plugins.load("runtime", "y") is Fraction


def test_a_missing_library_says_what_to_install(table):
    table(
        Plugin(kind="runtime", name="x", target="a:b", libraries=("no_such_library", "numpy"), extra="pack"),
        Plugin(kind="runtime", name="y", target="a:b", libraries=("no_such_library",)),
    )
    with pytest.raises(MissingLibrary) as caught:
        plugins.load("runtime", "x")
    assert caught.value.message == "the runtime 'x' needs no_such_library, which is not installed"
    assert caught.value.hint == "pip install 'aweigh[pack]'"
    with pytest.raises(MissingLibrary) as caught:
        plugins.load("runtime", "y")
    assert caught.value.hint == "pip install 'no_such_library'"


@pytest.mark.parametrize("target", ["no_such_module:Thing", "fractions:NoSuchThing"])
def test_a_plugin_that_cannot_be_loaded_is_a_missing_library(table, target):
    table(Plugin(kind="runtime", name="x", target=target))
    with pytest.raises(MissingLibrary, match="the runtime 'x' cannot be loaded"):
        plugins.load("runtime", "x")


def test_an_unknown_name_is_answered_with_the_nearest(table):
    table(Plugin(kind="runtime", name="onnxruntime", target="a:b"), Plugin(kind="runtime", name="null", target="a:b"))
    with pytest.raises(Unsupported) as caught:
        plugins.plugin("runtime", "onxruntime")
    assert caught.value.hint == "did you mean 'onnxruntime'?"
    with pytest.raises(Unsupported) as caught:
        plugins.plugin("runtime", "zzz")
    assert caught.value.hint == "there are: onnxruntime, null"
    with pytest.raises(Unsupported) as caught:
        plugins.plugin("broker", "kafka")
    assert caught.value.hint == "there are: none"


def test_rows_of_installed_strangers_are_found_by_their_files(monkeypatch, tmp_path):
    plugins._table.cache_clear()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing")])
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[console_scripts]\nstranger = stranger:main\n")
    assert not plugins._has_strangers()
    (info / "entry_points.txt").write_text("[aweigh.runtime]\nslow = stranger.runtime:Slow\n")
    assert plugins._has_strangers()
    row = plugins.plugin("runtime", "slow")
    assert (row.target, row.runs_code, "from stranger" in row.experimental) == ("stranger.runtime:Slow", True, True)
    plugins._table.cache_clear()

"""The verdict on SavedModels: graphs written by hand, field by field, judged without TensorFlow."""

import re
from pathlib import Path

import pytest
from tests.threats.savedmodel_bytes import (
    ASSET,
    RESOURCE,
    asset,
    bare,
    collection,
    concrete,
    field,
    function,
    named,
    node,
    objects,
    saved,
    saver_of,
    signature_of,
)

from aweigh.core.errors import FileMissing, InvalidFile, NotTrusted
from aweigh.runtimes import savedmodel_graph
from aweigh.runtimes.savedmodel_graph import judge_savedmodel

FILL = "InitializeTableFromTextFileV2"
OUT = node("out", "Identity", "x")


def test_a_graph_that_computes_is_well(tmp_path: Path) -> None:
    nodes = [node("x", "Placeholder"), node("out", "StatefulPartitionedCall", "x", calls="f")]
    assert judge_savedmodel(saved(tmp_path, nodes, [function("f", node("y", "MatMul"))])) == []


@pytest.mark.parametrize(
    "op", ["PyFunc", "ReadFile", "WriteFile", "WholeFileReaderV2", "LoadV2", "EagerPyFunc", "PrintV2", "DebugIdentityV3"]
)
@pytest.mark.parametrize("place", ["graph", "function", "nowhere called"])
def test_an_operation_that_reaches_out_is_named(tmp_path: Path, op: str, place: str) -> None:
    nodes = [node("x", "Placeholder"), node("out", "PartitionedCall", "x", calls="f")]
    body = [node("y", "Identity")]
    functions = [function("f", *body, *([node("z", op)] if place == "function" else []))]
    functions += [function("g", node("z", op))] if place == "nowhere called" else []
    assert judge_savedmodel(saved(tmp_path, nodes + ([node("z", op)] if place == "graph" else []), functions)) == [op]


def test_the_list_holds_no_operation_that_reaches_out() -> None:
    """By what such operations of TensorFlow are called."""
    reaching = re.compile(
        r"File|Reader|Dataset|Iterator|PyFunc|Summary|Print|Send|Recv|Remote|Rpc|Load|Save|Restore|Queue|Barrier|Stage|Debug|Host|Xla|TPU"
        r"|Collective|ImmutableConst|Skipgram|FixedUnigram|Vocab|Checkpoint|Graph|Delete|Custom|Eager"
    )
    assert [name for name in savedmodel_graph._OPERATIONS if reaching.search(name)] == []
    assert len(savedmodel_graph._OPERATIONS) > 800


def test_the_checkpoints_own_operations_are_the_savers_alone(tmp_path: Path) -> None:
    saver = [node("restore", "PartitionedCall", calls="r"), node("save", "PartitionedCall", calls="s")]
    bodies = [function("s", node("w", "SaveV2")), function("r", node("v", "RestoreV2"))]
    assert judge_savedmodel(saved(tmp_path, [OUT, *saver], bodies, more=objects())) == []
    reached = [node("out", "PartitionedCall", calls="s"), *saver]
    assert judge_savedmodel(saved(tmp_path, reached, bodies, more=objects())) == ["SaveV2"]
    assert judge_savedmodel(saved(tmp_path, [node("out", "Identity", "save"), *saver], bodies, more=objects())) == ["SaveV2"]


@pytest.mark.parametrize(
    "listed", [objects(functions=[concrete("s")]), objects(named("s")), objects(RESOURCE, bare("s"))], ids=["concrete", "named", "bare"]
)
def test_a_function_that_a_saved_object_names_is_no_part_of_the_saver(tmp_path: Path, listed: bytes) -> None:
    saver = [node("restore", "NoOp"), node("save", "PartitionedCall", calls="s")]
    assert judge_savedmodel(saved(tmp_path, [OUT, *saver], [function("s", node("w", "SaveV2"))], more=listed)) == ["SaveV2"]


OLD_SAVER = (
    node("checkpoint", "Const", text="model"),
    node("path", "Identity", "checkpoint"),
    node("write", "SaveV2", "path"),
    node("save", "Identity", "path", "^write"),
    node("read", "RestoreV2", "path:0"),
    node("restore", "NoOp", "^read"),
)
"""As TensorFlow 1 wrote it: the graph itself is run."""


def test_a_graph_without_objects_restores_from_the_path_that_it_is_given_and_saves_nowhere(tmp_path: Path) -> None:
    assert judge_savedmodel(saved(tmp_path, [OUT, *OLD_SAVER])) == []
    elsewhere = [node("read", "RestoreV2", "own"), node("own", "Const", text="/srv/other/checkpoint")]
    assert judge_savedmodel(saved(tmp_path, [OUT, *OLD_SAVER[:4], *elsewhere, OLD_SAVER[5]])) == ["RestoreV2"]
    writing = saver_of("save", "save")
    assert judge_savedmodel(saved(tmp_path, [OUT, *OLD_SAVER], saver=writing)) == ["RestoreV2", "SaveV2"]
    assert judge_savedmodel(saved(tmp_path, [OUT, *OLD_SAVER], saver=saver_of("save", "restore", "checkpoint:1"))) == ["RestoreV2"]
    for more in (
        collection("legacy_init_op", "save"),
        collection("local_variables", described=field(1, "v:0") + field(2, "save")),
        field(5, signature_of("save:0", "__saved_model_init_op")),
    ):
        assert judge_savedmodel(saved(tmp_path, [OUT, *OLD_SAVER], more=more)) == ["SaveV2"]


def test_nothing_hides_in_a_field_that_is_there_twice(tmp_path: Path) -> None:
    twice = field(1, "out") + field(2, "Identity") + field(2, "ReadFile")
    assert judge_savedmodel(saved(tmp_path, [twice])) == ["ReadFile"]
    entry = field(1, "f") + field(2, field(10, field(1, "harmless"))) + field(2, field(10, field(1, "s")))
    hidden = field(1, "out") + field(2, "PartitionedCall") + field(5, entry)
    saver = [node("save", "PartitionedCall", calls="s")]
    assert judge_savedmodel(saved(tmp_path, [hidden, *saver], [function("s", node("w", "SaveV2"))], more=objects())) == ["SaveV2"]
    with pytest.raises(InvalidFile, match="two functions"):
        judge_savedmodel(saved(tmp_path, [OUT], [function("f"), function("f", node("z", "ReadFile"))]))
    with pytest.raises(InvalidFile, match="two nodes"):
        judge_savedmodel(saved(tmp_path, [OUT, OUT]))


def test_a_table_of_an_old_graph_is_filled_from_the_models_own_files(tmp_path: Path) -> None:
    table, constant = node("t", FILL, "h", "name"), node("name", "Const", text="/where/it/was/made/words.txt")
    own = asset("name:0", "words.txt")
    started = collection("legacy_init_op", "t")
    assert judge_savedmodel(saved(tmp_path, [OUT, table, constant], more=own + started)) == []
    assert judge_savedmodel(saved(tmp_path, [OUT, table, constant], more=started)) == [FILL]  # nobody puts another name there
    assert judge_savedmodel(saved(tmp_path, [OUT, table, constant], more=asset("name:1", "words.txt") + started)) == [FILL]
    asked = [node("out", "Identity", "x", "^t"), table, constant]  # with a request, the constant says what it likes
    assert judge_savedmodel(saved(tmp_path, asked, more=own + started)) == [FILL]
    for name in ("../../etc/passwd", "/etc/passwd", "a/../../x", "..\\x", "x\0"):
        with pytest.raises(NotTrusted, match="outside"):
            judge_savedmodel(saved(tmp_path, [OUT, table, constant], more=asset("name:0", name)))


def fills(*calls: bytes) -> list[bytes]:
    return [function("fill", node("i", "Identity", "name"), node("t", FILL, "table", "i:output:0"), arguments=["table", "name"]), *calls]


def test_a_table_that_a_function_fills_is_filled_from_what_every_caller_gives(tmp_path: Path) -> None:
    own = asset("own:0", "words.txt")
    nodes = [
        OUT,
        node("own", "Const", text="words.txt"),
        node("h", "HashTableV2"),
        node("init", "PartitionedCall", "h", "own", calls="fill"),
    ]
    bound = objects(RESOURCE, ASSET, functions=[concrete("fill", 0, 1)])
    assert judge_savedmodel(saved(tmp_path, nodes, fills(), more=own + bound)) == []
    through = function("outer", node("c", "StatefulPartitionedCall", "a", "b", calls="fill"), arguments=["a", "b"])
    assert (
        judge_savedmodel(saved(tmp_path, nodes, fills(through), more=own + objects(RESOURCE, ASSET, functions=[concrete("outer", 0, 1)])))
        == []
    )


@pytest.mark.parametrize(
    ("more", "called"),
    [
        (objects(RESOURCE, field(9, b""), functions=[concrete("fill", 0, 1)]), b""),  # a constant where the asset was
        (objects(RESOURCE, ASSET + field(9, b""), functions=[concrete("fill", 0, 1)]), b""),  # the last kind counts
        (objects(RESOURCE, ASSET, functions=[concrete("fill", 1, 0)]), b""),
        (objects(RESOURCE, ASSET, functions=[concrete("fill", 0, 9)]), b""),
        (objects(RESOURCE, ASSET, functions=[concrete("fill")]), b""),  # whoever calls says which
        (objects(RESOURCE, ASSET, functions=[concrete("fill", 0, 1), concrete("fill", 0, 0)]), b""),
        (objects(bare("fill")), b""),
        (
            objects(),
            function("g", node("j", "StringJoin", "a"), node("c", "PartitionedCall", "a", "j:output:0", calls="fill"), arguments=["a"]),
        ),
        (objects(), function("g", node("c", "If", "a", "a", "own", calls="fill"), arguments=["a", "own"])),
        (objects(functions=[concrete("g")]), function("g", node("c", "PartitionedCall", "a", "a", calls="fill"), arguments=["a"])),
        (objects(), function("g", node("c", "fill", "g", "g"))),
    ],
)
def test_a_table_filled_from_any_other_file_is_refused(tmp_path: Path, more: bytes, called: bytes) -> None:
    functions = fills(*([called] if called else []))
    assert judge_savedmodel(saved(tmp_path, [OUT], functions, more=asset("own:0", "words.txt") + more)) == [FILL]


def test_what_a_person_trusted_is_allowed(tmp_path: Path) -> None:
    file = saved(tmp_path, [node("out", "ReadFile"), node("t", FILL, "h", "out")])
    assert judge_savedmodel(file, allowed=["ReadFile", FILL]) == []


def test_bytes_that_are_no_savedmodel_are_an_invalid_file(tmp_path: Path) -> None:
    whole = saved(tmp_path, [node("out", "Identity")]).read_bytes()
    for data in (b"", b"\xff" * 40, whole[: len(whole) // 2], b"\x08\x01"):
        (tmp_path / "saved_model.pb").write_bytes(data)
        with pytest.raises(InvalidFile):
            judge_savedmodel(tmp_path / "saved_model.pb")
    with pytest.raises(FileMissing):
        judge_savedmodel(tmp_path / "absent.pb")

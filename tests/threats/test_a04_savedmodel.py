"""A4, SavedModels: graphs with operations that reach files, the network or Python are refused by name, wherever they stand, before TensorFlow is imported.

Written by hand in protobuf's wire format, so that no TensorFlow is needed. What the verdict lets pass and why is in tests/unit/runtimes/test_savedmodel_graph.py;
models that TensorFlow itself wrote are in tests/frameworks/test_savedmodel.py. Not bounded here: what a graph of harmless operations takes in memory and
time, which the child's caps end.
"""

import os
import sys
from pathlib import Path

import pytest
from tests.threats.commands import run_all, tree
from tests.threats.savedmodel_bytes import bare, function, node, objects, saved, saver_of

from aweigh.core.errors import InvalidFile, NotTrusted
from aweigh.packing.choose import judge
from aweigh.packing.recognise import recognise

X = node("x", "Placeholder")
FORBIDDEN = (
    "ReadFile", "WriteFile", "WholeFileReader", "WholeFileReaderV2", "TextLineReaderV2", "TFRecordReaderV2", "FixedLengthRecordReaderV2", "IdentityReaderV2",
    "LMDBReader", "ReaderReadV2", "MatchingFiles", "ImmutableConst", "LoadAndRemapMatrix", "GenerateVocabRemapping", "Skipgram", "FixedUnigramCandidateSampler",
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "LoadV2", "TPUExecute", "CustomCall", "MyOwnOp", "XlaHostCompute", "XlaCallModule", "RemoteCall", "_Send",
    "_HostRecv", "Send", "Recv", "RpcCall", "RpcClient", "CollectiveReduceV2", "TextLineDataset", "TFRecordDatasetV2", "FixedLengthRecordDatasetV2",
    "SqlDataset", "LoadDataset", "SaveDatasetV2", "DataServiceDatasetV4", "GeneratorDataset", "CSVDataset", "IteratorGetNext", "InitializeTableFromDataset",
    "SummaryWriter", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "WriteSummary", "WriteRawProtoSummary", "PrintV2", "Print", "DebugNumericSummaryV2",
    "DebugIdentityV3", "SaveV2", "RestoreV2", "MergeV2Checkpoints", "Save", "Restore", "QueueDequeueV2", "Barrier", "Unstage", "MapPeek", "SymbolicGradient",
    "InitializeTableFromTextFileV2", "",
)  # fmt: skip
"""By kind: files, readers, hidden readers, Python, libraries and unknown ones, devices and other machines, data sets, summaries, debugging, checkpoints, waiting."""


def verdict(folder: Path) -> str:
    """What the refusal says."""
    with pytest.raises(NotTrusted) as refused:
        judge(folder, recognise(folder), trust=False)
    judge(folder, recognise(folder), trust=True)  # a person's word is taken, and kept in the package
    return str(refused.value)


@pytest.mark.parametrize("place", ["graph", "function", "function nobody calls", "of a saved object"])
def test_an_operation_that_reaches_out_is_refused_by_name(tmp_path: Path, place: str) -> None:
    for op in FORBIDDEN:
        strange = node("strange", op, "x", "x")
        called = node("out", "StatefulPartitionedCall", "x", calls="f")
        out = node("out", "Identity", "strange")
        if place == "graph":
            saved(tmp_path, [X, strange, out])
        elif place == "function":
            saved(tmp_path, [X, called], [function("f", strange, arguments=["x"])])
        elif place == "function nobody calls":
            saved(tmp_path, [X, node("out", "Identity", "x")], [function("g", strange, arguments=["x"])])
        else:
            saved(tmp_path, [X, node("out", "Identity", "x")], [function("g", strange, arguments=["x"])], more=objects(bare("g")))
        assert f"holds {op}," in verdict(tmp_path), op
    assert "tensorflow" not in sys.modules


def test_the_saver_is_no_way_to_write_or_read_a_file(tmp_path: Path) -> None:
    """What TensorFlow runs to restore, where a model comes without an object graph, must not save, nor read a checkpoint of somebody else's."""
    name, write = node("name", "Const", text=str(tmp_path / "sentinel")), node("write", "SaveV2", "name")
    assert "SaveV2" in verdict(saved(tmp_path, [node("out", "Identity", "x"), name, write], saver=saver_of("name", "write")).parent)
    read = node("read", "RestoreV2", "name")
    assert "RestoreV2" in verdict(saved(tmp_path, [node("out", "Identity", "x"), name, read], saver=saver_of("name", "read")).parent)
    # and neither is a function of the saver's that a saved object names too: its table would be filled by it
    nodes = [node("out", "Identity", "x"), node("save", "PartitionedCall", calls="s"), node("restore", "NoOp")]
    body = [function("s", node("n", "Const", text=str(tmp_path / "sentinel")), node("w", "SaveV2", "n:output:0"))]
    assert "SaveV2" in verdict(saved(tmp_path, nodes, body, more=objects(bare("s"))).parent)
    assert not (tmp_path / "sentinel").exists()


def test_links_pipes_and_devices_in_the_folder_are_refused(tmp_path: Path) -> None:
    for name in ("link", "pipe", "folder"):
        model = tmp_path / name
        saved(model, [X, node("out", "Identity", "x")])
        judge(model, recognise(model), trust=False)
        (model / "assets").mkdir()
        if name == "link":
            (model / "assets" / "words.txt").symlink_to("/etc/passwd")
        elif name == "folder":
            (model / "variables").symlink_to("/etc")
        else:
            os.mkfifo(model / "assets" / "words.txt")
        with pytest.raises(InvalidFile):
            judge(model, recognise(model), trust=True)


def test_the_command_refuses_and_makes_no_environment_for_it(tmp_path: Path) -> None:
    """As anyone would meet it, with and without asserts: a typed refusal, nothing written beside the model, no gigabytes fetched."""
    sentinel = tmp_path / "sentinel"
    write = [node("name", "Const", text=str(sentinel)), node("text", "Const", text="ran"), node("out", "WriteFile", "name", "text")]
    saved(tmp_path / "writes", write)
    (tmp_path / "environments").mkdir()
    before = tree(tmp_path / "writes")
    command = ["pack", str(tmp_path / "writes"), "--name", "m"]
    for optimised in ("", "1"):
        done = run_all(
            tmp_path / "home", {"writes": command}, AWEIGH_ENVIRONMENTS=str(tmp_path / "environments"), PYTHONOPTIMIZE=optimised
        )["writes"]
        assert done.code, done.said
        assert done.error["code"] == "not-trusted", done.said
        assert "WriteFile" in done.error["message"]
    assert tree(tmp_path / "writes") == before
    assert not sentinel.exists()
    assert not list((tmp_path / "environments").glob("tensorflow-*"))

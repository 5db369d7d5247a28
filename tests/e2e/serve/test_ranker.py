"""A LightGBM ranker over the server: rows as a person has them, each group in the order that the library itself gives, equal scores included."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tests.serving.served import Served
from tests.trees.models import fitted, rows

import aweigh

GROUP = 20


@pytest.mark.parametrize("variant", ["onnx", "lightgbm"])
def test_groups_keep_their_order(tmp_path: Path, variant: str) -> None:
    data = rows(10 * GROUP, 3, "lightgbm")
    ranker = fitted("lightgbm", "Ranker", 20, data)
    home = tmp_path / "home"
    aweigh.pack(ranker, "shop", sample=data, home=str(home))
    fresh = rows(15 * GROUP, 9, "lightgbm").iloc[[0, 0, 0, *range(3, 15 * GROUP)]]  # three that are alike
    wanted = ranker.predict(fresh)
    server = Served(home, "shop", "--variant", variant)
    try:
        asked = json.loads(fresh.to_json(orient="records"))
        request = urllib.request.Request(
            f"{server.url}/predict/shop", data=json.dumps({"rows": asked}).encode(), headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            scores = np.array([row["score"] for row in json.load(answer)["predictions"]])
    finally:
        assert server.end() == 0, server.log
    assert scores[0] == scores[1] == scores[2]
    for at in range(0, len(fresh), GROUP):
        group = slice(at, at + GROUP)
        np.testing.assert_array_equal(np.argsort(-scores[group], kind="stable"), np.argsort(-wanted[group], kind="stable"))

"""What is rendered for Vertex AI: flags that gcloud knows, paths that the server answers at, every mistake caught."""

import re
from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.core.errors import InvalidInput

KIND = "vertex"


def test_what_is_rendered_passes_its_own_checks(tmp_path: Path) -> None:
    one = job(tmp_path, KIND, set_={"region": "europe-west1"})
    done = render(tmp_path / "out", KIND, one)
    assert target(KIND).check(tmp_path / "out", one) == []
    model = yaml.safe_load((tmp_path / "out/model.yaml").read_bytes())
    assert (model["--container-image-uri"], model["--container-ports"]) == (IMAGE, [8080])
    assert "PORT" not in model["--container-env-vars"]
    deployed = yaml.safe_load((tmp_path / "out/deployed-model.yaml").read_bytes())
    assert (deployed["--min-replica-count"], deployed["--max-replica-count"]) == (2, 6)
    assert done.commands[0].endswith("--flags-file=model.yaml --region=europe-west1")


def test_what_it_costs_is_of_the_machine_that_is_rendered(tmp_path: Path) -> None:
    """Two of 0.1541 for 730 hours."""
    done = render(tmp_path / "out", KIND, job(tmp_path, KIND, set_={"machine": "e2-standard-4"}))
    assert done.costs[0] == "about 224.99 USD a month, whatever is asked: 2 x e2-standard-4"
    assert done.costs[-1] == "up to 6 run, and are paid for, while more is asked"
    done = render(tmp_path / "out", KIND, job(tmp_path, KIND, set_={"machine": "a3-highgpu-8g"}))
    assert done.costs[0] == "what 2 x a3-highgpu-8g cost is not in the table of prices: look at the vendor's own"


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("model.yaml", "--container-ports", "--container-port", "gcloud knows no such flag here"),
        ("model.yaml", "--display-name: fraud", "--display-name: [fraud]", "not of the kind str"),
        ("deployed-model.yaml", "--min-replica-count: 2", "--min-replica-count: 9", "is more than --max-replica-count"),
    ],
)
def test_mistakes_are_caught(tmp_path: Path, name: str, before: str, after: str, said: str) -> None:
    one = job(tmp_path, KIND)
    render(tmp_path / "out", KIND, one)
    path = tmp_path / "out" / name
    text = re.sub('"(--[a-z-]+)"', r"\1", path.read_text())
    assert before in text
    path.write_text(text.replace(before, after))
    assert any(said in each for each in wrong(target(KIND).check(tmp_path / "out", one)))


@pytest.mark.parametrize("options", [{"machine": "n1; x"}, {"region": "-"}, {"project": "a b"}])
def test_what_stands_in_commands_is_looked_at(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        target(KIND).render(job(tmp_path, KIND, set_=options))

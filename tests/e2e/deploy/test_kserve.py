"""What is rendered for KServe, read by KServe's own typed models, and by its CRDs where a folder with them is given in AWEIGH_KSERVE_CRDS."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.toolboxes import toolbox
from tests.unit.deploy.jobs import job, render

pytestmark = [pytest.mark.index, pytest.mark.timeout(300)]
READER = Path(__file__).parents[2] / "tools/kserve_models.py"
FILES = ("serving-runtime.yaml", "inference-service.yaml")
FORMS = {
    "inside": {"canary_percent": "20"},
    "standard": {"mode": "standard"},
    "modelcar": {"model": "modelcar", "model_image": "registry.example/model:1", "canary_percent": "20"},
    "volume": {"model": "volume", "mode": "standard"},
}


def told(folder: Path, *more: str) -> list[str]:
    words = [
        str(toolbox("kserve_models") / "python"),
        str(READER),
        *(str(folder / name) for name in FILES if (folder / name).exists()),
        *more,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines: list[str] = json.loads(done.stdout)
    return lines


def break_it(folder: Path) -> None:
    service = folder / FILES[1]
    service.write_text(service.read_text().replace("minReplicas", "minReplica"))
    runtime = folder / FILES[0]
    runtime.write_text(runtime.read_text().replace("multiModel: false", "multiModel: {}"))


@pytest.mark.parametrize("form", FORMS)
def test_the_typed_models_know_every_field(tmp_path: Path, form: str) -> None:
    render(tmp_path, "kserve", job(tmp_path, "kserve", set_=FORMS[form]))
    assert told(tmp_path) == []


def test_the_typed_models_tell_of_a_field_that_they_do_not_know(tmp_path: Path) -> None:
    render(tmp_path, "kserve", job(tmp_path, "kserve", set_=FORMS["modelcar"]))
    break_it(tmp_path)
    assert "inference-service.yaml: InferenceService.spec.predictor.minReplica: no such field" in told(tmp_path)


def test_the_crds_take_it_and_no_other_field(tmp_path: Path) -> None:
    crds = os.environ.get("AWEIGH_KSERVE_CRDS", "")
    if not crds:
        pytest.skip("needs KServe's CRDs (a folder in AWEIGH_KSERVE_CRDS)")
    for form, options in FORMS.items():
        render(tmp_path / form, "kserve", job(tmp_path, "kserve", set_=options))
        assert told(tmp_path / form, "--crds", crds) == []
    break_it(tmp_path / "modelcar")
    wrong = "\n".join(told(tmp_path / "modelcar", "--crds", crds))
    assert "('minReplica' was unexpected)" in wrong
    assert "$.spec.multiModel: {} is not of type 'boolean'" in wrong

"""NNCF on one ONNX file, through OpenVINO, as its guides have it. Run by the interpreter of aweigh's environment "optimize", which holds it.

`python run.py JOB.json`: the job names the file, the rows, the goal and whether accuracy is controlled; the answer is written beside it as `answer.json`.
"""

import json
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino


def main():
    place = Path(sys.argv[1]).absolute()
    job = json.loads(place.read_text())
    made = transformer(job) if job["transformer"] else classifier(job)
    file = place.parent / "model.xml"
    openvino.save_model(made, file, compress_to_fp16=False)
    place.with_name("answer.json").write_text(json.dumps({"files": [str(file), str(file.with_suffix(".bin"))]}))


def transformer(job):
    with np.load(job["feeds"]) as found:
        rows = {}
        for name in found.files:
            at, _, given = name.partition("/")
            rows.setdefault(at, {})[given] = found[name]
    model = openvino.Core().read_model(job["model"])
    return nncf.quantize(model, nncf.Dataset(list(rows.values())), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))


def classifier(job):
    with np.load(job["rows"]) as found:
        calibration, rows, labels = found["x_calibration"], found["x_searched"], found["y_searched"]
    model = openvino.Core().read_model(job["model"])
    taken = nncf.Dataset(list(calibration), lambda row: {job["input"]: row[None]})
    if job["controlled"]:
        judged = nncf.Dataset(list(zip(rows, labels, strict=True)), lambda pair: {job["input"]: pair[0][None]})
        return nncf.quantize_with_accuracy_control(
            model, taken, judged, accuracy, max_drop=job["points"] / 100, drop_type=nncf.DropType.ABSOLUTE, subset_size=len(calibration)
        )
    return nncf.quantize(model, taken, subset_size=len(calibration))


def accuracy(compiled, pairs):
    right = [int(np.argmax(compiled(row[None])[0]) == label) for row, label in pairs]
    return float(np.mean(right))


if __name__ == "__main__":
    main()

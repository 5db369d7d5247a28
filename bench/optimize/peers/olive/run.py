"""Olive on one ONNX file: its own search over its ONNX quantisation, with a goal of accuracy. Run by the interpreter of Olive's environment.

`python run.py JOB.json`: the job names the file, the rows, the goal and the time; the answer is written beside it as `answer.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from olive import run
from olive.data.registry import Registry


class Rows(torch.utils.data.Dataset):
    def __init__(self, name, rows, labels):
        self.name, self.rows, self.labels = name, rows, labels

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        return {self.name: torch.from_numpy(self.rows[at])}, int(self.labels[at])


@Registry.register_dataset("bench_rows")
def bench_rows(data_dir, part="", **_):
    job = json.loads(Path(data_dir).read_text())
    with np.load(job["rows"]) as found:
        return Rows(job["input"], found[f"x_{part}"], found[f"y_{part}"])


@Registry.register_post_process("bench_class")
def bench_class(output, **_):
    scores = output if isinstance(output, torch.Tensor) else output[0] if not hasattr(output, "logits") else output.logits
    return scores.argmax(dim=-1)


def data(name, place, part, batch):
    return {
        "name": name,
        "load_dataset_config": {"type": "bench_rows", "params": {"data_dir": str(place), "part": part}},
        "pre_process_data_config": {"type": "skip_pre_process"},
        "post_process_data_config": {"type": "bench_class"},
        "dataloader_config": {"type": "default_dataloader", "params": {"batch_size": batch, "drop_last": False}},
    }


def common(job, place):
    return {
        "input_model": {"type": "ONNXModel", "model_path": job["model"]},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "host": "local",
        "target": "local",
        "cache_dir": str(place.parent / "cache"),
        "output_dir": str(place.parent / "output"),
        "log_severity_level": 3,
    }


def transformer(job, place):
    """Its passes one after the other: it has no metric of neighbours to search by."""
    fused = {"type": "OrtTransformersOptimization", "model_type": "bert", "num_heads": job["heads"], "hidden_size": job["hidden"]}
    return {
        **common(job, place),
        "passes": {"transformers": fused, "quantization": {"type": "OnnxDynamicQuantization"}},
        "evaluate_input_model": False,
    }


def classifier(job, place):
    """What `search_strategy`, the goals and the pass are is quoted in settings.toml."""
    one_thread = {"inference_settings": {"onnx": {"session_options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1}}}}
    return {
        **common(job, place),
        "data_configs": [
            data("calibration", place, "calibration", 1),
            data("judged", place, "searched", 64),
            data("timed", place, "timed", job["batch"]),
        ],
        "evaluators": {
            "common": {
                "type": "OnnxEvaluator",
                "metrics": [
                    {
                        "name": "accuracy",
                        "type": "accuracy",
                        "backend": "torch_metrics",
                        "data_config": "judged",
                        "sub_types": [
                            {
                                "name": "accuracy_score",
                                "priority": 1,
                                "higher_is_better": True,
                                "metric_config": {"task": "multiclass", "num_classes": 10},
                                "goal": {"type": "max-degradation", "value": job["points"] / 100},
                            }
                        ],
                        "user_config": one_thread,
                    },
                    {
                        "name": "latency",
                        "type": "latency",
                        "data_config": "timed",
                        "sub_types": [{"name": "avg", "priority": 2, "goal": {"type": "percent-min-improvement", "value": 1}}],
                        "user_config": one_thread,
                    },
                ],
            }
        },
        "passes": {"quantization": {"type": "OnnxQuantization", "data_config": "calibration"}},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"max_samples": job["tries"], "seed": 0},
            "max_iter": job["tries"],
            "max_time": job["seconds"],
        },
        "evaluator": "common",
        "evaluate_input_model": True,
    }


def main():
    place = Path(sys.argv[1]).absolute()
    torch.set_num_threads(1)
    job = json.loads(place.read_text())
    found = run((transformer if job["transformer"] else classifier)(job, place))
    models = []
    for model in found.get_output_models():
        figures = {name: each["value"] for name, each in (model.metrics_value or {}).items()}
        models.append({"file": str(model.model_path), "figures": figures, "settings": str(getattr(model, "from_pass", lambda: "")())})
    place.with_name("answer.json").write_text(json.dumps({"models": models}))


if __name__ == "__main__":
    main()

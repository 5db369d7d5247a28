"""ONNX models for tests of passes, made by `write` in the environment "optimize": small ones, trained on the digits of scikit-learn, as exporters write them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

OPSET = 18


def main(folder: Path) -> None:
    """mlp.onnx, outlier.onnx, cnn.onnx, encoder.onnx, large.onnx, plain.onnx, beside.onnx with its weights beside it, and rows.npz: calibration rows, held-out rows, and their labels."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    np.savez(folder / "rows.npz", calibration=pixels[:256], held=pixels[1200:], labels=labels[1200:])
    save(mlp(pixels[:1200], labels[:1200]), folder / "mlp.onnx")
    save(mlp(pixels[:1200], labels[:1200], outlier=True), folder / "outlier.onnx")
    save(large(), folder / "large.onnx")
    save(cnn(pixels[:1200], labels[:1200]), folder / "cnn.onnx")
    save(encoder(), folder / "encoder.onnx")
    save(model([helper.make_node("Relu", ["x"], ["y"])], [], ("x", 64), ("y", 64)), folder / "plain.onnx")
    onnx.save(
        mlp(pixels[:1200], labels[:1200]),
        str(folder / "beside.onnx"),
        save_as_external_data=True,
        location="beside.onnx.data",
        size_threshold=0,
    )


def mlp(pixels: Any, labels: Any, *, outlier: bool = False) -> Any:
    """Gemm with the matrix turned round, and shapes of inner tensors and weights written down, as PyTorch's exporter does.

    With an outlier, a hidden unit that is never on has huge weights behind it: nothing in float, and too much for few bits.
    """
    made = MLPClassifier((64, 32), max_iter=60, random_state=0).fit(pixels, labels)
    if outlier:
        made.coefs_[0][:, 0], made.intercepts_[0][0], made.coefs_[1][0] = 0, -1, 60
    nodes, weights, shapes, before = [], [], [], "x"
    for at, (matrix, bias) in enumerate(zip(made.coefs_, made.intercepts_, strict=True)):
        weights += [weight(f"w{at}", matrix.T), weight(f"b{at}", bias)]
        shapes += [value(f"w{at}", matrix.T.shape), value(f"b{at}", bias.shape), value(f"g{at}", ("batch", len(bias)))]
        nodes.append(helper.make_node("Gemm", [before, f"w{at}", f"b{at}"], [f"g{at}"], transB=1, name=f"layer{at}"))
        before = f"r{at}"
        nodes.append(helper.make_node("Relu", [f"g{at}"], [before]))
    nodes[-1] = helper.make_node("Identity", [f"g{at}"], ["y"])
    return model(nodes, weights, ("x", 64), ("y", 10), shapes)


def cnn(pixels: Any, labels: Any) -> Any:
    """Two drawn convolutions, the second of which is wide in one channel, and a trained head."""
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(16, 1, 3, 3)) / 3, draw.normal(size=(32, 16, 3, 3)) / 12
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "first"], ["c1"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "second"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2], name="second"),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["features"]),
    ]
    weights = [weight("first", first), weight("second", second), numpy_helper.from_array(np.array([-1, 1, 8, 8]), "shape")]
    body = model(nodes, weights, ("x", 64), ("features", 512))
    features = onnxruntime.InferenceSession(body.SerializeToString()).run(None, {"x": pixels})[0]
    head = LogisticRegression(max_iter=300).fit(features, labels)
    nodes.append(helper.make_node("Gemm", ["features", "matrix", "bias"], ["y"], name="head"))
    return model(nodes, [*weights, weight("matrix", head.coef_.T), weight("bias", head.intercept_)], ("x", 64), ("y", 10))


def encoder() -> Any:
    """Two feed-forward blocks of a transformer, with GELU and layer normalisation written out as older exporters do."""
    draw = np.random.default_rng(1)
    nodes, weights, before = (
        [],
        [weight("two", 2.0), weight("half", 0.5), weight("one", 1.0), weight("root", np.sqrt(2.0)), weight("tiny", 1e-5)],
        "x",
    )
    for at in range(2):
        weights += [
            weight(f"{name}{at}", draw.normal(size=size) / 8)
            for name, size in (("in", (64, 128)), ("out", (128, 64)), ("ib", 128), ("ob", 64))
        ]
        weights += [weight(f"gain{at}", np.ones(64)), weight(f"shift{at}", np.zeros(64))]
        steps = (
            ("MatMul", before, f"in{at}", "m"), ("Add", f"ib{at}", "m", "h"), ("Div", "h", "root", "d"), ("Erf", "d", "", "e"), ("Add", "e", "one", "p"),
            ("Mul", "h", "p", "q"), ("Mul", "q", "half", "gelu"), ("MatMul", "gelu", f"out{at}", "o"), ("Add", f"ob{at}", "o", "ob"), ("Add", "ob", before, "sum"),
            ("ReduceMean", "sum", "", "mean"), ("Sub", "sum", "mean", "centred"), ("Pow", "centred", "two", "square"), ("ReduceMean", "square", "", "variance"),
            ("Add", "variance", "tiny", "safe"), ("Sqrt", "safe", "", "deviation"), ("Div", "centred", "deviation", "normal"),
            ("Mul", "normal", f"gain{at}", "scaled"), ("Add", "scaled", f"shift{at}", "out"),
        )  # fmt: skip
        here = {out for _, _, _, out in steps}
        for kind, one, other, out in steps:
            inputs = [f"{name}.{at}" if name in here else name for name in (one, other) if name]
            more = {"keepdims": 1} if kind == "ReduceMean" else {}
            if kind == "ReduceMean":
                inputs.append("last")
            nodes.append(helper.make_node(kind, inputs, [f"{out}.{at}"], name=f"{kind}.{out}.{at}", **more))
        before = f"out.{at}"
    nodes.append(helper.make_node("Identity", [before], ["y"]))
    weights.append(numpy_helper.from_array(np.array([-1]), "last"))
    graph = helper.make_graph(nodes, "encoder", [value("x", ("batch", "tokens", 64))], [value("y", ("batch", "tokens", 64))], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def large() -> Any:
    """Numbers that half precision cannot hold on their way, and can at the end."""
    draw = np.random.default_rng(4).normal(size=(64, 10)) / 8
    nodes = [
        helper.make_node("MatMul", ["x", "matrix"], ["product"], name="product"),
        helper.make_node("Mul", ["product", "factor"], ["blown"], name="blown"),
        helper.make_node("Div", ["blown", "factor"], ["y"], name="back"),
    ]
    return model(nodes, [weight("matrix", draw), weight("factor", 6e5)], ("x", 64), ("y", 10))


def model(nodes: Any, weights: Any, takes: tuple[str, int], gives: tuple[str, int], shapes: Any = ()) -> Any:
    """Rows of numbers in, rows of numbers out."""
    ends = [[value(name, ("batch", size))] for name, size in (takes, gives)]
    graph = helper.make_graph(nodes, "digits", *ends, weights, value_info=list(shapes))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def value(name: str, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weight(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array, dtype=np.float32), name)


def save(made: Any, path: Path) -> None:
    onnx.checker.check_model(made)
    onnx.save(made, str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

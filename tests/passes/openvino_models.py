"""Digits as three graphs, made in the environment "optimize" without a framework: drawn convolutions or a drawn attention under a head that is fitted, a sum of rows, and rules.

Accurate in seconds: 9 of 10 digits come right, so that what is quantised has something to lose.
"""

from pathlib import Path

from tests.frameworks.kit import make

SCRIPT = '''
import numpy as np
import onnx
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits

draw = np.random.default_rng(5)
pixels, labels = load_digits(return_X_y=True)
order = draw.permutation(len(pixels))
pixels, labels = (pixels[order] / 16).astype(np.float32), labels[order]


def array(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def save(name, nodes, weights, shape, outputs):
    takes = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", *shape])]
    gives = [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", *size]) for output, size in outputs.items()]
    graph = helper.make_graph(nodes, name, takes, gives, [array(key, value) for key, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")


def answer(name, rows):
    import onnxruntime

    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"image": rows})[0]


def finished(name, nodes, weights, shape, rows, width):
    """The body gives features; a head is fitted to them on a third of the rows."""
    save(name, nodes, weights, shape, {"features": [width]})
    seen = answer(name, rows[:600])
    middle = seen.mean(0)
    seen, wanted = seen - middle, np.eye(10)[labels[:600]] - 0.1
    head = np.linalg.solve(seen.T @ seen + np.eye(width), seen.T @ wanted).astype(np.float32)
    weights = {**weights, "head": head, "bias": -middle @ head}
    save(name, [*nodes, helper.make_node("Gemm", ["features", "head", "bias"], ["scores"], name="fitted")], weights, shape, {"scores": [10]})
    np.savez(f"{name}.npz", rows=rows[600:], answers=answer(name, rows[600:]), labels=labels[600:])


def convolution(name="convolution", loud=1):
    """One channel may be as many times as loud as the others, and is taken back by the weights behind: steps of eight bits over all of them then lose the others."""
    weights = {"first": draw.normal(0, 0.5, (16, 1, 3, 3)).astype(np.float32), "second": draw.normal(0, 0.1, (32, 16, 3, 3)).astype(np.float32)}
    weights["first"][5] *= loud
    weights["second"][:, 5] /= loud
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["features"]),
    ]
    finished(name, nodes, weights, [1, 8, 8], pixels.reshape(-1, 1, 8, 8), 512)


def attention():
    def drawn(*shape):
        return draw.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    weights = {"embed": drawn(8, 64), "place": drawn(8, 64), "query": drawn(64, 64), "key": drawn(64, 64), "value": drawn(64, 64), "scale": np.float32(0.125)}
    nodes = [
        helper.make_node("MatMul", ["image", "embed"], ["looked"], name="embed"),
        helper.make_node("Add", ["looked", "place"], ["x"]),
        *(helper.make_node("MatMul", ["x", part], [part[0]], name=part) for part in ("query", "key", "value")),
        helper.make_node("Transpose", ["k"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "t"], ["likeness"], name="likeness"),
        helper.make_node("Mul", ["likeness", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["attended"], axis=-1),
        helper.make_node("MatMul", ["attended", "v"], ["mixed"], name="mixed"),
        helper.make_node("Add", ["mixed", "x"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
        helper.make_node("Flatten", ["y"], ["features"]),
    ]
    finished("attention", nodes, weights, [8, 8], pixels.reshape(-1, 8, 8), 512)


def strange():
    """An operator that nobody has."""
    node = helper.make_node("Strange", ["image"], ["scores"], domain="org.example")
    takes = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 4])]
    gives = [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph([node], "strange", takes, gives, [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)], ir_version=8), "strange.onnx")


def plain():
    """No product, no convolution; and an operator of which OpenVINO makes numbers of NaN."""
    nodes = [helper.make_node("Relu", ["image"], ["a"]), helper.make_node("ReduceMax", ["a"], ["scores"], axes=[1], keepdims=1)]
    save("plain", nodes, {}, [4], {"scores": [1]})


convolution()
attention()
convolution("loud", 1000)
strange()
plain()
'''


def write_models(folder: Path) -> Path:
    """convolution, attention, loud (with rows, answers and labels in .npz), strange and plain."""
    return make("optimize", SCRIPT, folder)

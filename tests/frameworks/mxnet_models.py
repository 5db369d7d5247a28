"""Networks that tests pack: run by the interpreter of the environment `mxnet`, in the folder where the files are to lie."""

LINEAR = """
import mxnet as mx
data = mx.sym.Variable("data")
out = mx.sym.LinearRegressionOutput(mx.sym.FullyConnected(data, num_hidden=1, name="fc"), name="price")
module = mx.mod.Module(out, data_names=["data"], label_names=["price_label"])
module.bind(data_shapes=[("data", (4, 6))], label_shapes=[("price_label", (4, 1))])
module.init_params(mx.init.Normal(0.5))
"""
MLP = """
import mxnet as mx
data = mx.sym.Variable("data")
hidden = mx.sym.Activation(mx.sym.FullyConnected(data, num_hidden=16, name="fc1"), act_type="relu")
out = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Dropout(hidden, p=0.5), num_hidden=3, name="fc2"), name="softmax")
module = mx.mod.Module(out, data_names=["data"], label_names=["softmax_label"])
module.bind(data_shapes=[("data", (4, 6))], label_shapes=[("softmax_label", (4,))])
module.init_params(mx.init.Xavier())
"""
CNN = """
import mxnet as mx
from mxnet.gluon import nn
net = nn.HybridSequential()
net.add(nn.Conv2D(8, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(2), nn.Dropout(0.3), nn.Flatten(), nn.Dense(10))
net.initialize(mx.init.Xavier())
net.hybridize()
with mx.autograd.record():  # so that the batch norm has statistics of its own
    net(mx.nd.random.normal(2.0, 3.0, shape=(16, 1, 8, 8)))
net(mx.nd.zeros((1, 1, 8, 8)))
net.export("model")
"""
RECURRENT = """
import mxnet as mx
from mxnet.gluon import nn, rnn
class Net(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.rnn = rnn.LSTM(8, layout="NTC", input_size=5)
            self.out = nn.Dense(2)
    def hybrid_forward(self, F, x):
        return self.out(self.rnn(x))
net = Net()
net.initialize(mx.init.Xavier())
net.hybridize()
net(mx.nd.zeros((2, 7, 5)))
net.export("model")
"""
SAVED = '\nmodule.save_checkpoint("model", 0)\n'
ANSWERS = """
import numpy as np
symbol, arguments, states = mx.model.load_checkpoint("model", 0)
names = [name for name in symbol.list_inputs() if name not in arguments and name not in states]
rows = np.load("fresh.npy")
given = {"data": mx.nd.array(rows)} if "data" in names else {names[0]: mx.nd.array(rows)}
shapes, _, _ = symbol.infer_shape(**{name: array.shape for name, array in given.items()})
known = dict(zip(symbol.list_arguments(), shapes))
for name in names:
    given.setdefault(name, mx.nd.zeros(known[name]))
executor = symbol.bind(mx.cpu(), {**arguments, **given}, aux_states=states, grad_req="null")
np.save("answers.npy", executor.forward(is_train=False)[0].asnumpy())
"""
SOURCES = {"linear": (LINEAR + SAVED, (6,)), "mlp": (MLP + SAVED, (6,)), "cnn": (CNN, (1, 8, 8)), "recurrent": (RECURRENT, (7, 5))}
"""Script and the shape of a row."""

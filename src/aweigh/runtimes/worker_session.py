"""The session of a runtime whose library answers in a child of its own: asks the child, and gives its outputs in the signature's order."""

from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate import Here, Worker


class WorkerSession:
    """One child, which ends with it."""

    concurrent = False
    isolated = True

    def __init__(self, worker: Worker | Here, signature: Signature) -> None:
        self._worker = worker
        self._names = [spec.name for spec in signature.outputs]

    def run(self, inputs: Tensors) -> list[Tensor]:
        _, outputs = self._worker.request({}, inputs)
        return [outputs[name] for name in self._names]

    def close(self) -> None:
        self._worker.close()

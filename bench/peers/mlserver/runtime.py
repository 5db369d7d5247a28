"""MLServer: a custom runtime, as it has none for ONNX. Loaded by MLServer, in its own environment."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.session import Session


class OnnxModel(MLModel):  # type: ignore[misc]  # MLServer is not here
    async def load(self) -> bool:
        self.session = Session.of_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = self.session.run({tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs})
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(self.session.names, arrays, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)

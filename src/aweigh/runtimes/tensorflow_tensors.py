"""Tensors between aweigh and TensorFlow: datatypes, text, and what cannot be told. Used by the runtime and by packing."""

from typing import Any, Final

import numpy as np
import tensorflow as tf

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.signature import TensorSpec
from aweigh.core.tensors import Datatype, Tensor

_DATATYPES: Final = {
    tf.bool: Datatype.BOOL,
    tf.uint8: Datatype.UINT8,
    tf.uint16: Datatype.UINT16,
    tf.uint32: Datatype.UINT32,
    tf.uint64: Datatype.UINT64,
    tf.int8: Datatype.INT8,
    tf.int16: Datatype.INT16,
    tf.int32: Datatype.INT32,
    tf.int64: Datatype.INT64,
    tf.float16: Datatype.FP16,
    tf.bfloat16: Datatype.BF16,
    tf.float32: Datatype.FP32,
    tf.float64: Datatype.FP64,
    tf.string: Datatype.BYTES,
}
_NAMED: Final = {datatype: dtype for dtype, datatype in _DATATYPES.items()}


def datatype_of_tensorflow(dtype: Any, name: str) -> Datatype:
    """The datatype of a TensorFlow dtype. Raises Unsupported, naming the tensor."""
    found = _DATATYPES.get(dtype)
    if found is None:
        raise Unsupported(f"'{name}' is of the type {dtype.name}, which cannot be sent", hint="cast it inside the model")
    return found


def as_tensorflow(tensor: Tensor, spec: TensorSpec) -> Any:
    """A request tensor as TensorFlow takes it. Raises InvalidInput for text that is missing or has no UTF-8 form."""
    try:
        return tf.convert_to_tensor(tensor, dtype=_NAMED[spec.datatype])
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise InvalidInput(f"input '{spec.name}': {str(error)[:300]}", input=spec.name) from error


def from_tensorflow(tensor: Any) -> Tensor:
    """An answer as a numpy tensor; text that is UTF-8 as text, bfloat16 as float32."""
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    array: Tensor = np.asarray(tensor.numpy())
    if array.dtype != object and array.dtype.kind != "S":
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [_text(item) for item in array.ravel().tolist()]
    return texts.reshape(array.shape)


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        return item

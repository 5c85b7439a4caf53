"""Halves an ONNX file: float32 weights are stored as float16 behind a Cast, which ONNX Runtime folds when it loads.

    python compact.py speech_tokenizer_v2.onnx campplus.onnx        (in place)

For the graphs this recipe makes itself (speech tokenizer, speaker encoder); arithmetic stays float32.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MIN_SIZE = 4096  # elements; smaller weights are not worth a node
FP16_MAX = 65504.0


def compact(path: str) -> tuple[int, int]:
    """Rewrites the file at `path`; returns its size in bytes before and after."""
    model = onnx.load(path)
    before = model.ByteSize()
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(tensor)
        if array.size < MIN_SIZE or np.abs(array).max() > FP16_MAX:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return before, model.ByteSize()


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(f"{file}: %d -> %d bytes" % compact(file))

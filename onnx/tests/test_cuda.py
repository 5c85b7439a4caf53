"""The fp16 flow graphs on CUDA, without CUDA: every operator has a kernel there, and no tensor crosses to or from the
host, which would forbid CUDA graphs. Kernels: ONNX Runtime's docs/OperatorKernels.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

F, H, L, B = "float32", "float16", "int64", "bool"
NUMBERS, ANY = {F, H, L}, {F, H, L, B}
KERNELS = {
    "Add": NUMBERS, "And": {B}, "BiasGelu": {F, H}, "Cast": ANY, "Concat": ANY, "Cos": {F, H}, "Div": NUMBERS,
    "Expand": ANY, "FastGelu": {F, H}, "Gather": ANY, "GreaterOrEqual": NUMBERS, "Identity": ANY,
    "LayerNormalization": {F, H}, "LeakyRelu": {F, H}, "Less": NUMBERS, "LessOrEqual": NUMBERS, "MatMul": {F, H},
    "Max": NUMBERS, "Mul": NUMBERS, "MultiHeadAttention": {F, H}, "Neg": NUMBERS, "Pad": {F, H, B},
    "QuickGelu": {F, H}, "Range": {F, L}, "ReduceL2": {F, H}, "Reshape": ANY, "RotaryEmbedding": {F, H},
    "ScatterND": ANY, "Shape": ANY, "Sin": {F, H}, "SkipLayerNormalization": {F, H}, "Slice": ANY, "Softplus": {F, H},
    "Split": ANY, "Sub": NUMBERS, "Tanh": {F, H}, "Transpose": ANY, "Unsqueeze": ANY, "Where": {B},
}  # fmt: skip
# Inputs that CUDA kernels take from the host.
HOST = {
    "Reshape": {1},
    "Expand": {1},
    "Slice": {1, 2, 3, 4},
    "Range": {0, 1, 2},
    "Pad": {1, 2, 3},
    "Unsqueeze": {1},
    "Split": {1},
}
SMALL = 100  # initializers up to this size do not keep a node off the host
COMPARISONS = {"GreaterOrEqual", "Less", "LessOrEqual"}


def element(number: int) -> str:
    return np.dtype(helper.tensor_dtype_to_np_dtype(number)).name


def result(node: onnx.NodeProto, kinds: dict[str, str]) -> str:
    """The element type of a node's outputs."""
    if node.op_type == "Cast":
        return element(helper.get_attribute_value(node.attribute[0]))
    if node.op_type == "Shape":
        return L
    if node.op_type in COMPARISONS:
        return B
    return kinds[node.input[1 if node.op_type == "Where" else 0]]


def host_nodes(graph: onnx.GraphProto, kinds: dict[str, str]) -> tuple[set[str], set[str]]:
    """(nodes that ONNX Runtime would place on the host, tensors there): what follows from shapes alone."""
    small = {t.name for t in graph.initializer if numpy_helper.to_array(t).size <= SMALL}
    free = small | {i.name for i in graph.input}
    nodes, tensors = set(), set()
    for node in graph.node:
        if node.op_type == "Shape":
            tensors |= set(node.output)
        given = [(i, name) for i, name in enumerate(node.input) if name]
        moved = any(name in tensors for _, name in given) and all(
            kinds[name] != H and (name in free or (name in tensors and i not in HOST.get(node.op_type, ())))
            for i, name in given
        )
        if moved:
            nodes.add(node.name)
            tensors |= set(node.output)
    return nodes, tensors


@pytest.mark.parametrize("name", ["flow_encoder", "flow_estimator"])
def test_every_node_stays_on_the_device(bundles: dict[str, Path], name: str) -> None:
    check_device_graph(bundles["fp16"] / f"{name}.onnx")


def check_device_graph(path: Path) -> None:
    graph = onnx.load(path).graph
    kinds = {t.name: element(t.data_type) for t in graph.initializer}
    kinds |= {i.name: element(i.type.tensor_type.elem_type) for i in graph.input}
    for node in graph.node:
        assert kinds[node.input[0]] in KERNELS.get(node.op_type, ()), f"{node.op_type} of {kinds[node.input[0]]}"
        kinds |= dict.fromkeys(node.output, result(node, kinds))
    constants, inputs = {t.name for t in graph.initializer}, {i.name for i in graph.input}
    nodes, tensors = host_nodes(graph, kinds)
    assert nodes  # lengths are computed on the host
    for node in graph.node:
        slots = set(range(len(node.input))) if node.name in nodes else HOST.get(node.op_type, set())
        for i, source in enumerate(node.input):
            if node.op_type == "Shape" or not source or source in constants:
                continue
            assert (source in tensors) == (i in slots), f"{node.name} input {i} ({source}) crosses to or from the host"
            assert not (i in slots and source in inputs)

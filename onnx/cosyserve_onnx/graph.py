"""A small graph builder over `onnx.helper`: call it to append a node, get the output's name back.

Weights stay numpy arrays until `save`, so a graph costs what its arrays cost (often a memory-mapped view).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from . import __version__
from .errors import ExportError

OPSET = 17
MS = "com.microsoft"  # ONNX Runtime's own operators
EXTERNAL_BYTES = 1_500_000_000  # protobuf stops at 2 GiB; weights above this go beside the graph
INT8_MIN_SIZE = 4096  # elements; smaller weights are not worth a scale
ALIGNMENT = 4096  # external tensors start on a page, so that they can be memory-mapped

F32, F16, I64, I32, U8, I8 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.UINT8,
    TensorProto.INT8,
)
_NUMPY_TYPES = {F32: np.float32, F16: np.float16}


@dataclass(frozen=True)
class Numbers:
    """How a graph holds and computes its numbers.

    `compute` is the activations' type, `store` the weights' type (I8: large weights as int8 with a scale per row,
    the rest fp16); `int8` makes matrix products 8-bit, and those of the language model `language_bits`-bit; `cache` is
    the type of state kept between runs and `grain` how it is written (0: whole rows, for CPUs; see paging.py).
    """

    compute: int = F32
    store: int = F32
    int8: bool = False
    language_bits: int = 8
    cache: int = F32
    grain: int = 0


class Graph:
    """One ONNX graph under construction."""

    def __init__(self, name: str, numbers: Numbers | None = None):
        self.name = name
        self.numbers = numbers or Numbers()
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, tuple[np.ndarray, int]] = {}
        self._constants: dict[tuple, str] = {}
        self._counter = 0

    def input(self, name: str, dtype: int, shape: list[int | str]) -> str:
        """Declares an input; strings are dynamic axes."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: int, shape: list[int | str], value: str) -> None:
        """Declares output `name`, which is the tensor `value`."""
        if value != name:
            self._nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def __call__(self, op: str, *inputs: str, out: int | list[str] = 1, domain: str = "", **attributes: Any) -> Any:
        """Appends a node. `out`: how many outputs, or their names ("" for an unwanted one)."""
        self._counter += 1
        stem = f"{op}_{self._counter}"
        names = out if isinstance(out, list) else [stem if out == 1 else f"{stem}_{i}" for i in range(out)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=stem, domain=domain, **attributes))
        return names[0] if len(names) == 1 else names

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        """A small constant; equal constants share one tensor."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"const_{len(self._constants)}"
            self._initializers[name] = (array, helper.np_dtype_to_tensor_dtype(array.dtype))
            self._constants[key] = name
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """A 1-D int64 constant (axes, shapes, slice ends)."""
        return self.const(values, np.int64)

    def number(self, value: float) -> str:
        """A scalar of the compute type."""
        return self.const(value, _NUMPY_TYPES[self.numbers.compute])

    def raw(self, array: np.ndarray, name: str) -> str:
        """An initializer stored exactly as `array` is."""
        return self._add(array, helper.np_dtype_to_tensor_dtype(array.dtype), name)

    def weight(self, array: np.ndarray, name: str, compute: int | None = None) -> str:
        """A weight in the storage type, cast to the compute type (ONNX Runtime folds the cast at load)."""
        compute = compute or self.numbers.compute
        if self.numbers.store == I8 and array.ndim >= 2 and array.size >= INT8_MIN_SIZE:
            return self._int8_weight(np.asarray(array), name, compute)
        store = F16 if F16 in (compute, self.numbers.store) or self.numbers.store == I8 else F32
        kind = _NUMPY_TYPES[store]
        if store == F16 and np.max(np.abs(array.astype(np.float32)), initial=0) > 65504:
            store, kind = F32, np.float32  # out of fp16's range
        stored = self._add(np.asarray(array).astype(kind, copy=False), store, name)
        return stored if store == compute else self("Cast", stored, to=compute)

    def _int8_weight(self, array: np.ndarray, name: str, compute: int) -> str:
        """int8 with one scale per row, widened by Cast and Mul: ONNX Runtime folds those at load (it would leave a
        DequantizeLinear to every run)."""
        full = array.astype(np.float32)
        scale = np.abs(full).max(axis=tuple(range(1, full.ndim)), keepdims=True) / 127
        scale = np.maximum(scale, 1e-30).astype(np.float32)
        wide = self("Cast", self.raw(np.rint(full / scale).astype(np.int8), f"{name}.int8"), to=compute)
        kind = _NUMPY_TYPES[compute]
        return self("Mul", wide, self.raw(scale.astype(kind), f"{name}.scale"))

    def _add(self, array: np.ndarray, dtype: int, name: str) -> str:
        if name in self._initializers:
            raise ExportError(f"{self.name}: weight {name} is used twice")
        self._initializers[name] = (array, dtype)
        return name

    def save(self, path: Path) -> str | None:
        """Writes the graph; returns the file name of its external weights, if it has any."""
        total = sum(a.nbytes for a, _ in self._initializers.values())
        data = f"{path.name}.data" if total > EXTERNAL_BYTES else None
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MS, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        model.producer_name, model.producer_version = "cosyserve_onnx", __version__
        # Weights go straight into the model: the helpers would copy them at every step.
        if data:
            self._external(model.graph, path.with_name(data))
        else:
            for name, (array, dtype) in self._initializers.items():
                _tensor(model.graph, name, array, dtype).raw_data = np.ascontiguousarray(array).tobytes()
        path.write_bytes(model.SerializeToString())
        return data

    def _external(self, graph: onnx.GraphProto, path: Path) -> None:
        """Streams every weight over a kilobyte into `path`, one at a time."""
        with open(path, "wb") as file:
            for name, (array, dtype) in self._initializers.items():
                proto = _tensor(graph, name, array, dtype)
                data = np.ascontiguousarray(array)
                if array.nbytes < 1024:
                    proto.raw_data = data.tobytes()
                    continue
                file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
                proto.data_location = TensorProto.EXTERNAL
                for key, value in (("location", path.name), ("offset", file.tell()), ("length", data.nbytes)):
                    proto.external_data.add(key=key, value=str(value))
                data.tofile(file)


def _tensor(graph: onnx.GraphProto, name: str, array: np.ndarray, dtype: int) -> TensorProto:
    """A new initializer of `graph`, without data."""
    proto = graph.initializer.add()
    proto.name, proto.data_type = name, dtype
    proto.dims.extend(array.shape)
    return proto

"""Runs a graph node by node, so that fp16 tensors are fp16.

ONNX Runtime's CPU provider has few fp16 kernels: it computes an fp16 graph in f32 from end to end and drops the casts
in between, so neither rounding nor overflow shows. Here every node is a session of its own, whose fp16 results are
rounded; inside a node the arithmetic stays f32, as on CUDA, where products, softmax and norms accumulate in f32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper


class HalfRunner:
    """One graph. `largest` is the largest finite magnitude that any f32 and any fp16 tensor had."""

    def __init__(self, path: Path):
        self.model = onnx.load(path)
        self._constants = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self._sessions: dict[str, ort.InferenceSession] = {}
        self.largest = {np.dtype(np.float32): 0.0, np.dtype(np.float16): 0.0}

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Like a session's `run`."""
        known = self._constants | feed
        for node in self.model.graph.node:
            given = {name: known[name] for name in node.input if name}
            names = [name for name in node.output if name]
            for name, value in zip(names, self._session(node, given).run(names, given), strict=True):
                known[name] = value
                if value.dtype in self.largest and value.size:
                    self.largest[value.dtype] = max(self.largest[value.dtype], float(np.abs(value).max()))
        return [known[name] for name in outputs]

    def _session(self, node: onnx.NodeProto, given: dict[str, np.ndarray]) -> ort.InferenceSession:
        if node.name not in self._sessions:
            inputs = [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
                for name, value in given.items()
            ]
            results = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
            graph = helper.make_graph([node], "node", inputs, results)
            model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            model = model.SerializeToString()
            self._sessions[node.name] = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return self._sessions[node.name]

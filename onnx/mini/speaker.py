"""The speaker encoder in torch, rebuilt from campplus.onnx, to embed thousands of utterances on a GPU.

    python speaker.py CHECKPOINT/campplus.onnx OUT.pt      # tensors under their torch names, checked against the ONNX
    model

Input (B, T, 80) Kaldi fbank minus its mean over time, output (B, 192). Three ConvNeXt blocks and attentive statistics.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn


class ConvNeXt(nn.Module):
    """Depthwise convolution, norm, two-layer perceptron, scaled residual: (B, C, T) -> (B, C, T)"""

    def __init__(self, dim, expand, kernel):
        super().__init__()
        self.dw = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.n = nn.LayerNorm(dim)
        self.a = nn.Linear(dim, expand * dim)
        self.b = nn.Linear(expand * dim, dim)
        self.g = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x):
        return x + (self.g * self.b(F.gelu(self.a(self.n(self.dw(x).transpose(1, 2)))))).transpose(1, 2)


class SpeakerEncoder(nn.Module):
    def __init__(self, dim=256):
        super().__init__()
        self.c = nn.Conv1d(80, dim, 5, stride=2, padding=2)
        self.b = nn.ModuleList([ConvNeXt(dim, 2, k) for k in (7, 7, 9)])
        self.n = nn.LayerNorm(dim)
        self.att = nn.Linear(dim, dim)
        self.o = nn.Linear(2 * dim, 192)

    def forward(self, fbank, mask=None):
        """mask (B, T/2): True inside; without it the whole width counts"""
        x = self.c(fbank.transpose(1, 2) * 0.25)
        for block in self.b:
            if mask is not None:
                x = x * mask[:, None]
            x = block(x)
        x = self.n(x.transpose(1, 2))
        score = self.att(x)
        if mask is not None:
            score = score.masked_fill(~mask[..., None], -1e4)
        weight = torch.softmax(score, 1)
        mean = (weight * x).sum(1)
        variance = (weight * x * x).sum(1) - mean * mean
        return self.o(torch.cat([mean, torch.sqrt(variance.clamp(min=1e-5))], -1))


def from_onnx(path, prefix=""):
    """State dict of the module that was exported, of what is named below `prefix`; weights may be halves (compact.py).
    Linear layers keep their weight, transposed, as the operand of a product that has their name."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {i.name: torch.from_numpy(numpy_helper.to_array(i).astype("float32")) for i in graph.initializer}
    halved = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Cast" and n.input[0] in values}
    values.update({name: values.pop(half) for name, half in halved.items()})
    state = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix) and "::" not in k}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in values:
            name = node.output[0].strip("/").removesuffix("/MatMul_output_0").replace("/", ".")
            state[f"{name.removeprefix(prefix)}.weight"] = values[node.input[1]].t()
    return {k: v.contiguous() for k, v in state.items()}


def main():
    import onnxruntime

    model = SpeakerEncoder().eval()
    state = from_onnx(sys.argv[1])
    model.load_state_dict(state)
    x = torch.randn(1, 214, 80)
    want = onnxruntime.InferenceSession(sys.argv[1]).run(None, {"input": x.numpy()})[0]
    error = (model(x).detach() - torch.from_numpy(want)).abs().max() / abs(want).max()
    print("largest relative difference from the ONNX model", float(error))
    assert error < 1e-4
    torch.save(state, sys.argv[2])


if __name__ == "__main__":
    main()

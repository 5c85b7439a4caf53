"""Language model, recogniser, vocoder and flow back out of a bundle: where training goes on without their checkpoints.

    python from_bundle.py ../bundled/llm.onnx OUT/lm.train.pt
    python from_bundle.py ../bundled/speech_tokenizer.onnx OUT/recogniser.pt
    python from_bundle.py ../bundled/hift_decoder.onnx OUT/hift.pt
    python from_bundle.py ../bundled/flow_encoder.onnx OUT/flow.train.pt

A bundle's weights have eight bits, each row or block of 32 with its own scale: 0.4% of a row's largest weight at most,
which a few hundred steps of training mend. Tables of codes come back as plain rows and are taken apart into what the
rows of a phone, a pitch and a voicing share (tables.py), so that rare codes go on learning from frequent ones. The
auxiliary targets' head is not in a bundle; it starts anew. The flow's middle blocks have seven bits, and its times only
the solver's (flow_from_bundle.py).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import flow
import flow_from_bundle
import lm
import speaker
import tables
import tokens
from recogniser import Recogniser
from vocoder import HiFT


def blocks(values, name):
    """A MatMulNBits weight [N, K] in f32: bytes around 128, a scale for each 32."""
    quantised, scale = values[f"{name}.int8"].astype(np.float32) - 128, values[f"{name}.scale"]
    return (quantised * scale.reshape(*quantised.shape[:2], 1)).reshape(len(quantised), -1)


def language_model(path):
    """State dict of lm.LanguageModel."""
    values = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}

    def tensor(name):
        return torch.from_numpy(values[name].astype(np.float32))

    embedding = torch.from_numpy(values["embedding.int8"].astype(np.float32) * values["embedding.scale"])
    speech = tokens.CODES + 3
    text = len(embedding) - speech - 2
    state = lm.LanguageModel(text).state_dict()  # the auxiliary head stays as it starts
    state["embed_tokens.weight"] = embedding[:text]
    state["llm_embedding.weight"] = embedding[text + speech :]
    state["norm.weight"], state["head_bias"] = tensor("norm.weight"), tensor("llm_decoder.bias")
    for name, rows in (
        ("speech", embedding[text : text + speech]),
        ("head", torch.from_numpy(blocks(values, "llm_decoder"))),
    ):
        state.update({f"{name}.{k}": v for k, v in tables.take_apart(rows, 3).items()})
    widths = [lm.HEADS * lm.HEAD_DIM, lm.KV_HEADS * lm.HEAD_DIM, lm.KV_HEADS * lm.HEAD_DIM]
    for i in range(lm.LAYERS):
        layer = f"layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            state[f"{layer}{norm}.weight"] = tensor(f"{layer}{norm}.weight")
        weight, bias = blocks(values, f"{layer}attention.qkv"), values[f"{layer}attention.qkv.bias"]
        for part, w, b in zip(
            "qkv", torch.from_numpy(weight).split(widths), torch.tensor(bias).split(widths), strict=True
        ):
            state[f"{layer}self_attn.{part}_proj.weight"], state[f"{layer}self_attn.{part}_proj.bias"] = w, b.float()
        state[f"{layer}self_attn.o_proj.weight"] = torch.from_numpy(blocks(values, f"{layer}attention.o"))
        gate, up = torch.from_numpy(blocks(values, f"{layer}mlp.gate_up")).chunk(2)
        state[f"{layer}mlp.gate_proj.weight"], state[f"{layer}mlp.up_proj.weight"] = gate, up
        state[f"{layer}mlp.down_proj.weight"] = torch.from_numpy(blocks(values, f"{layer}mlp.down"))
    return {k: v.clone() for k, v in state.items()}


def vocoder(decoder):
    """State dict of vocoder.HiFT, of hift_decoder.onnx and what lies beside it; weight norms are taken apart anew.

    The export divides a convolution by the alpha of the Snake before it, and multiplies the first one of a pair by the
    second Snake's: alphas of 1 there give the same function.
    """
    state = HiFT().state_dict()
    manifest = json.loads((decoder.parent / "bundle.json").read_text(encoding="utf-8"))["vocoder"]
    values = {"m_source.l_linear.weight": manifest["merge_weight"], "m_source.l_linear.bias": manifest["merge_bias"]}
    for file, prefix in ((decoder, ""), (decoder.parent / manifest["f0"]["file"], "f0_predictor.")):
        for i in onnx.load(file).graph.initializer:
            values[prefix + i.name] = numpy_helper.to_array(i).astype(np.float32)
    for name in [n for n in values if n.endswith(".alpha")]:
        block, _, rest = name.rpartition(".activations1.")
        values[f"{block}.activations2.{rest}"] = np.ones_like(values[name])
        values[f"{block}.convs1.{rest.removesuffix('alpha')}weight"] *= values[name].reshape(1, -1, 1, 1)
    norm = ".parametrizations.weight.original"
    for name in state:
        plain = name.split(norm)[0] + ".weight" if norm in name else name
        value = torch.tensor(values[plain])
        if name.endswith(norm + "0"):
            value = value.reshape(len(value), -1).norm(dim=1)
        state[name] = value.reshape(state[name].shape)
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.part.name == "llm.onnx":
        state = language_model(args.part)
        lm.LanguageModel(state["embed_tokens.weight"].shape[0]).load_state_dict(state)
    elif args.part.name.startswith("hift"):
        state = vocoder(args.part)
        HiFT().load_state_dict(state)
    elif args.part.name.startswith("flow"):
        state = flow_from_bundle.whole(args.part)
        flow.Flow().load_state_dict(state)
    else:
        state = speaker.from_onnx(args.part, "recogniser.")
        Recogniser().load_state_dict(state)
    torch.save(state, args.out)
    print(f"{sum(v.numel() for v in state.values()) / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()

"""The flow's weights back out of a bundle's flow_encoder.onnx and flow_estimator.onnx (see from_bundle.py).

What the export folds together is taken apart so that the function stays the same: the token table of embedding, linear
layer and norm; the query's bias, shared by the two kinds of attention scores; the up-sampling convolution, merged into
one at token rate. The time embedding is only there at the solver's steps, and comes back for these alone: training asks
for no other times (flow.begin_of_step).
"""

import math

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import flow
import tables

TABLE_ROUNDS = 600  # of fitting the norm behind the token table
MOMENTS = 0.02  # what is left of a row's mean and of its deviation's distance from 1, at most on average
WAKE = 6.0  # times the time perceptron's first weights
RIDGE = 1e-8


def initialisers(path):
    """Tensors of a graph in f32, weights of eight bits with their scales multiplied in."""
    values = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    out = {}
    for name, value in values.items():
        if name.endswith(".int8"):
            scale = values[name.removesuffix("int8") + "scale"]  # of a row (n, 1), or of a column (n,)
            name, value = name.removesuffix(".int8").removesuffix(".weight") + ".weight", value * scale
        if not name.endswith(".scale"):
            out[name] = torch.from_numpy(value.astype(np.float32))
    return out


def convolution(matrix, taps):
    """(taps * in, out) of a product over windows -> a Conv1d's weight (out, in, taps)"""
    return matrix.view(taps, -1, matrix.shape[1]).permute(2, 1, 0)


def token_table(rows):
    """-> embedding (codes, width), norm's weight and bias, of a table of norms times sqrt(width); the linear layer
    between them is the identity. Any weight and bias do under which the rows have mean 0 and deviation 1."""
    rows = rows / math.sqrt(rows.shape[1])
    weight, bias = rows.std(0).log().requires_grad_(), rows.mean(0).requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, TABLE_ROUNDS)
    for _ in range(TABLE_ROUNDS):
        plain = (rows - bias) / weight.exp()
        loss = plain.mean(1).square().mean() + (plain.var(1, unbiased=False) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    plain = ((rows - bias) / weight.exp()).detach()
    left = float(plain.mean(1).abs().mean()), float((plain.std(1, unbiased=False) - 1).abs().mean())
    assert max(left) < MOMENTS, left
    return plain, weight.exp().detach(), bias.detach()


def up_sampling(matrix):
    """(3 * in, 2 * out) -> (out, in, 5): frames are doubled, so each of the three taps is a sum of two of the five."""
    even, odd = convolution(matrix, 3).chunk(2)
    last, first = even[..., 2], odd[..., 0]
    second, fourth = even[..., 0] - first, odd[..., 2] - last
    third = (even[..., 1] - fourth + odd[..., 1] - second) / 2
    return torch.stack([first, second, third, fourth, last], -1)


def attention(values, prefix, state, name):
    """A conformer layer's attention into `state`."""
    width = values[f"{prefix}q.weight"].shape[0]
    for part in ("q", "k", "v", "out"):
        state[f"{name}linear_{part}.weight"] = values[f"{prefix}{part}.weight"].t()
    for part in ("k", "v", "out"):
        state[f"{name}linear_{part}.bias"] = values[f"{prefix}{part}.bias"]
    content, place = values[f"{prefix}u"], values[f"{prefix}v_bias"]
    state[f"{name}linear_q.bias"] = (content + place) / 2
    state[f"{name}pos_bias_u"] = (content - place).view(flow.HEADS, -1) / 2
    state[f"{name}pos_bias_v"] = (place - content).view(flow.HEADS, -1) / 2
    apart = values[f"{prefix}pos.weight"].t() * math.sqrt(width // flow.HEADS)
    state[f"{name}linear_pos.weight"] = torch.stack(apart.chunk(2, 1), -1).flatten(1)  # sines and cosines in turns


def encoder(path):
    """State dict of everything of flow.Flow but its estimator."""
    values, state = initialisers(path), {}
    table, weight, bias = token_table(values["token_table.weight"][:-1])
    state.update({f"codes.{k}": v for k, v in tables.take_apart(table, 0).items()})
    width = table.shape[1]
    state["encoder.embed.out.0.weight"], state["encoder.embed.out.0.bias"] = torch.eye(width), torch.zeros(width)
    state["encoder.embed.out.1.weight"], state["encoder.embed.out.1.bias"] = weight, bias
    look = "encoder.pre_lookahead_layer."
    for name, source, taps in (
        ("conv1", "look_ahead.conv1", flow.LOOK_AHEAD + 1),
        ("conv2", f"{look}conv2.conv", 3),
    ):
        state[f"{look}{name}.weight"] = convolution(values[f"{source}.weight"], taps)
        state[f"{look}{name}.bias"] = values[f"{source}.bias"]
    state["encoder.up_layer.conv.weight"] = up_sampling(values["up_layer.conv.weight"])
    state["encoder.up_layer.conv.bias"] = values["up_layer.bias"].chunk(2)[0]
    state["encoder.up_embed.out.0.weight"] = values["up_embed.weight"].t()
    state["encoder.up_embed.out.0.bias"] = values["up_embed.bias"]
    for kind in ("weight", "bias"):
        state[f"encoder.up_embed.out.1.{kind}"] = values[f"encoder.up_embed.out.1.{kind}"] / math.sqrt(width)
        state[f"encoder.after_norm.{kind}"] = values[f"encoder.after_norm.{kind}"]
    for layer in sorted({k.split(".norm_mha")[0] for k in values if ".norm_mha." in k}):
        for norm in ("norm_mha", "norm_ff"):
            for kind in ("weight", "bias"):
                state[f"{layer}.{norm}.{kind}"] = values[f"{layer}.{norm}.{kind}"]
        attention(values, f"{layer}.self_attn.", state, f"{layer}.self_attn.")
        for part in ("w_1", "w_2"):
            state[f"{layer}.feed_forward.{part}.weight"] = values[f"{layer}.feed_forward.{part}.weight"].t()
            state[f"{layer}.feed_forward.{part}.bias"] = values[f"{layer}.feed_forward.{part}.bias"]
    for part in ("encoder_proj", "spk_embed_affine_layer"):
        state[f"{part}.weight"], state[f"{part}.bias"] = values[f"{part}.weight"].t(), values[f"{part}.bias"]
    return state


@torch.no_grad()
def projections(model, table):
    """Weights (out, hidden) and biases (out,) that make of the time perceptron's output, at the solver's steps, the
    rows of `table` (steps, out). Least squares relative to a row's size (late steps' are five times as large).
    The perceptron `model.time_mlp` is left as it started but for its larger weights (WAKE): the smaller the differences
    between its outputs, the larger the weights that have to tell them apart."""
    for layer in (model.time_mlp.linear_1, model.time_mlp.linear_2):
        layer.weight *= WAKE
    hidden = torch.nn.functional.mish(model.time_mlp(flow.time_angles(flow.solver_times(len(table))[:-1])).double())
    size = table.norm(dim=1, keepdim=True).double()
    hidden, wanted = torch.cat([hidden, torch.ones(len(table), 1)], 1) / size, table.double() / size
    square = hidden.t() @ hidden
    solved = torch.linalg.solve(square + RIDGE * torch.eye(len(square)), hidden.t() @ wanted)
    return solved[:-1].t().float(), solved[-1].float()


def transformer(values, source, state, name):
    """A transformer block into `state`, and the bias of the residual block before it."""
    for part in "qkv":
        state[f"{name}.1.0.attn1.to_{part}.weight"] = values[f"{source}.1.0.attn1.{part}.weight"].t()
    for part, layer in (("to_out", "attn1.to_out.0"), ("ff.0", "ff.net.0.proj"), ("ff.2", "ff.net.2")):
        state[f"{name}.1.0.{layer}.weight"] = values[f"{source}.1.0.{part}.weight"].t()
    for part, layer in (
        ("1.0.norm3.skip_bias", "1.0.attn1.to_out.0.bias"),
        ("1.0.ff.0.bias", "1.0.ff.net.0.proj.bias"),
        ("1.0.ff.2.bias", "1.0.ff.net.2.bias"),
        ("1.0.norm1.skip_bias", "0.res_conv.bias"),
        *((f"1.0.{norm}.{kind}",) * 2 for norm in ("norm1", "norm3") for kind in ("weight", "bias")),
    ):
        state[f"{name}.{layer}"] = values[f"{source}.{part}"]


def estimator(path):
    """State dict of flow.Estimator."""
    values, prefix = initialisers(path), "decoder.estimator."
    middle = len({k.split(".")[3] for k in values if k.startswith(f"{prefix}mid_blocks.")})
    model = flow.Estimator(**{**flow.ESTIMATOR, "mid_blocks": middle})
    stages = ["down_blocks.0", *(f"mid_blocks.{i}" for i in range(middle)), "up_blocks.0"]
    times = [part.chunk(len(stages)) for part in projections(model, values["times"])]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for stage, weight, bias in zip(stages, *times, strict=True):
        state[f"{stage}.0.mlp.1.weight"], state[f"{stage}.0.mlp.1.bias"] = weight, bias
        state[f"{stage}.0.res_conv.weight"] = values[f"{prefix}{stage}.0.res_conv.weight"].t()[..., None]
        transformer(values, f"{prefix}{stage}", state, stage)
    blocks = [f"{stage}.0.block{i}.block" for stage in stages for i in (1, 2)] + ["final_block.block"]
    for name in (f"{block}.2.{kind}" for block in blocks for kind in ("weight", "bias")):
        state[name] = values[f"{prefix}{name}"]
    for layer in [f"{block}.0" for block in blocks] + ["down_blocks.0.2", "up_blocks.0.2"]:
        state[f"{layer}.weight"] = convolution(values[f"{prefix}{layer}.conv.weight"], 3)
        state[f"{layer}.bias"] = values[f"{prefix}{layer}.conv.bias"]
    state["final_proj.weight"] = values["final_proj.weight"].t()[..., None]
    state["final_proj.bias"] = values["final_proj.bias"]
    model.load_state_dict(state)
    return model.state_dict()


def whole(encoder_path):
    """State dict of flow.Flow."""
    state = encoder(encoder_path)
    parts = estimator(encoder_path.with_name("flow_estimator.onnx"))
    state.update({f"decoder.estimator.{k}": v for k, v in parts.items()})
    return {k: v.contiguous().clone() for k, v in state.items()}

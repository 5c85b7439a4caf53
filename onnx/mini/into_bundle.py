"""A trained language model or flow into a bundle that keeps everything else.

    python into_bundle.py O/lm.train.pt ../bundled
    python into_bundle.py O/flow.train.pt ../bundled

The other half of from_bundle.py: graphs in eight bits by the project's exporter, their checksums in bundle.json. Files
appear under a temporary name first. A bundle of another kind of model is refused: sampling, solver and voices stay.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch

import flow
import lm
import tokens

sys.path.insert(0, str(Path(__file__).parents[1]))
from cosyserve_onnx import llm  # noqa: E402
from cosyserve_onnx.export import MAX_POSITIONS, sha256  # noqa: E402
from cosyserve_onnx.gen2 import flow_encoder, flow_estimator  # noqa: E402
from cosyserve_onnx.graph import F16, F32, I8, Numbers  # noqa: E402
from cosyserve_onnx.hyper_yaml import Tagged  # noqa: E402
from cosyserve_onnx.solver import Solver  # noqa: E402

CONFIG = {
    "num_attention_heads": lm.HEADS,
    "num_key_value_heads": lm.KV_HEADS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}
ENCODER = {
    "output_size": flow.WIDTH,
    "attention_heads": flow.HEADS,
    "input_layer": "linear",
    "pos_enc_layer_type": "rel_pos_espnet",
    "use_cnn_module": False,
    "macaron_style": False,
}
ESTIMATOR = {
    "channels": [flow.ESTIMATOR["channels"]],
    "in_channels": 4 * flow.MEL,
    "num_heads": flow.ESTIMATOR["heads"],
    "static_chunk_size": 2 * flow.CHUNK,
}


def language_model(state, entry):
    """The exporter's graph of a state dict of lm.LanguageModel; `entry`: what the manifest says of the present one."""
    model = lm.LanguageModel(state["embed_tokens.weight"].shape[0])
    model.load_state_dict({k: v.float() for k, v in state.items()})
    weights = {k: v.numpy() for k, v in model.export().items()}
    graph, facts = llm.build(CONFIG, weights, Numbers(F32, I8, int8=True), MAX_POSITIONS, tokens.CODES)
    refuse([k for k, v in facts.items() if entry.get(k) != v])
    return [(entry, graph)]


def tagged(name, values):
    return Tagged("new", name, values)


def flow_graphs(state, entry):
    """Likewise both graphs of a state dict of flow.Flow."""
    model = flow.Flow()
    model.load_state_dict({k: v.float() for k, v in state.items()})
    weights = {k: v.numpy() for k, v in model.export().items()}
    config = tagged(
        "Flow",
        {
            "output_size": flow.MEL,
            "spk_embed_dim": entry["spk_dim"],
            "encoder": tagged("UpsampleConformerEncoder", ENCODER),
            "decoder": tagged("Decoder", {"estimator": tagged("Estimator", ESTIMATOR)}),
        },
    )
    solver = Solver(entry["cfg_rate"], entry["schedule"], entry["steps"])
    small, fast = Numbers(F32, I8, cache=F16), Numbers(F32, I8, int8=True, cache=F16)
    parts = {
        "encoder": flow_encoder.build(config, weights, small),
        "estimator": flow_estimator.build(config, weights, solver, fast),
    }
    refuse([name for name, (_, caches) in parts.items() if entry["caches"][name] != caches])
    return [(entry[name], graph) for name, (graph, _) in parts.items()]


def refuse(differences):
    if differences:
        raise SystemExit(f"the bundle is of another kind of model: {', '.join(differences)}")


def put(state, bundle):
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    refuse([manifest["precision"]] if manifest["precision"] != "int8" else [])
    build, entry = (language_model, "llm") if "llm_embedding.weight" in state else (flow_graphs, "flow")
    files = []
    for part, graph in build(state, manifest[entry]):
        new = bundle / f"{part['file']}.new"
        assert graph.save(new) is None, "weights beside the graph"
        part["sha256"] = sha256(new)
        files.append((new, bundle / part["file"]))
    text = bundle / "bundle.json.new"
    text.write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    for new, old in [*files, (text, bundle / "bundle.json")]:
        os.replace(new, old)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    args = parser.parse_args()
    put(torch.load(args.model, weights_only=True), args.bundle)


if __name__ == "__main__":
    main()

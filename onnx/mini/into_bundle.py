"""A trained language model into a bundle that keeps everything else, and its own sampling.

    python into_bundle.py O/lm.train.pt ../bundled

The other half of from_bundle.py: llm.onnx in eight bits by the project's exporter, its checksum in bundle.json. Files
appear under a temporary name first.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch

import lm
import tokens

sys.path.insert(0, str(Path(__file__).parents[1]))
from cosyserve_onnx import llm  # noqa: E402
from cosyserve_onnx.export import MAX_POSITIONS, sha256  # noqa: E402
from cosyserve_onnx.graph import F32, I8, Numbers  # noqa: E402

CONFIG = {
    "num_attention_heads": lm.HEADS,
    "num_key_value_heads": lm.KV_HEADS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}


def graph(state):
    """The exporter's graph of a state dict of lm.LanguageModel, and what the manifest says of it."""
    model = lm.LanguageModel(state["embed_tokens.weight"].shape[0])
    model.load_state_dict({k: v.float() for k, v in state.items()})
    weights = {k: v.numpy() for k, v in model.export().items()}
    return llm.build(CONFIG, weights, Numbers(F32, I8, int8=True), MAX_POSITIONS, tokens.CODES)


def put(state, bundle):
    built, facts = graph(state)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    entry = manifest["llm"]
    changed = [k for k, v in facts.items() if entry.get(k) != v]
    if changed or manifest["precision"] != "int8":
        raise SystemExit(f"{bundle}: another kind of model ({', '.join(changed) or manifest['precision']})")
    new = bundle / "llm.onnx.new"
    assert built.save(new) is None, "weights beside the graph"
    entry["sha256"] = sha256(new)
    text = bundle / "bundle.json.new"
    text.write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(new, bundle / entry["file"])
    os.replace(text, bundle / "bundle.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    args = parser.parse_args()
    put(torch.load(args.model, weights_only=True), args.bundle)


if __name__ == "__main__":
    main()

"""Put the trained parts together as a checkpoint directory in the official CosyVoice 2 layout.

    python assemble.py --parts DIR --base CHECKPOINT --out CHECKPOINT

--parts: lm.train.pt, flow.train.pt, recogniser.pt, and hift.pt, speaker.pt, voices.spk.pt, voices.prompt.pt if there
are; --base: an existing checkpoint that gives the rest (tokenizer, speaker encoder, yaml, vocoder) and whose key names
the result must have, part by part, up to the number of layers. The directory is written under a temporary name and
renamed when complete.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import torch

import flow
import lm
from recogniser import Recogniser, Tokenizer
from speaker import SpeakerEncoder
from training import weights

SAMPLING = {"top_p": 0.8, "top_k": 25, "win_size": 10, "tau_r": 1.1}  # tau_r > 1: repetition is never punished
SIZES = {
    "channels": f"[{flow.ESTIMATOR['channels']}]",
    "attention_head_dim": flow.ESTIMATOR["head_dim"],
    "n_blocks": 1,
    "num_mid_blocks": flow.ESTIMATOR["mid_blocks"],
    "num_heads": flow.ESTIMATOR["heads"],
}


def edit_yaml(text, sampling, guidance):
    """Set sampling, guidance and the estimator's sizes; everything else stays as it is."""
    text, count = re.subn(r"(\n +inference_cfg_rate: )\S+", rf"\g<1>{guidance}", text)
    assert count == 1, "inference_cfg_rate"
    for key, value in {**sampling, **SIZES}.items():
        if key in sampling:
            text, count = re.subn(rf"(\n        {key}: )\S+", rf"\g<1>{value}", text, count=1)
        else:
            text, count = re.subn(rf"(\n            {key}: )\S+", rf"\g<1>{value}", text)
        assert count == 1, (key, count)
    return text


def export(model, path, inputs, output, sizes):
    """inputs: example tensors by name; output: its name; sizes: names of those that vary, as torch.onnx has them"""
    torch.onnx.export(
        model.eval(),
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=[output],
        dynamic_axes=sizes,
        opset_version=17,
        dynamo=False,
    )


def export_tokenizer(recogniser, path):
    inputs = {"feats": torch.randn(1, 128, 200), "feats_length": torch.tensor([200], dtype=torch.int32)}
    export(Tokenizer(recogniser), path, inputs, "indices", {"feats": {2: "T"}, "indices": {1: "N"}})


def export_speaker(encoder, path):
    export(encoder, path, {"input": torch.randn(1, 200, 80)}, "output", {"input": {1: "T"}})


def speakers(parts, built_in):
    """spk2info: the parts' embeddings instead of `built_in`'s, and what the flow hears before each voice speaks."""
    if (parts / "voices.spk.pt").exists():
        built_in = torch.load(parts / "voices.spk.pt", weights_only=True)
    if (parts / "voices.prompt.pt").exists():
        prompts = torch.load(parts / "voices.prompt.pt", weights_only=True)
        built_in = {voice: entry | prompts.get(voice, {}) for voice, entry in built_in.items()}
    return built_in


def generic(names):
    """Key names with layer numbers blanked, to compare models of different depth."""
    return {re.sub(r"\.\d+\.", ".#.", re.sub(r"\.\d+\.", ".#.", n)) for n in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--top-p", type=float, default=SAMPLING["top_p"])
    parser.add_argument("--top-k", type=int, default=SAMPLING["top_k"])
    parser.add_argument("--guidance", type=float, default=0.7, help="of the flow (classifier-free)")
    parser.add_argument("--temperature", type=float, default=1.0, help="folded into the head")
    args = parser.parse_args()
    work = args.out.with_name(args.out.name + ".new")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(args.base, work, copy_function=shutil.copyfile)
    for path in [work, *work.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    sampling = {**SAMPLING, "top_p": args.top_p, "top_k": args.top_k}
    (work / "cosyvoice2.yaml").write_text(
        edit_yaml((args.base / "cosyvoice2.yaml").read_text(encoding="utf8"), sampling, args.guidance), encoding="utf8"
    )

    state = weights(args.parts / "lm.train.pt")
    model = lm.LanguageModel(state["embed_tokens.weight"].shape[0])
    model.load_state_dict(state)
    out = model.export()
    for name in ("llm_decoder.weight", "llm_decoder.bias"):
        out[name] = (out[name].float() / args.temperature).half()
    out["llm.model.lm_head.weight"] = out["llm.model.model.embed_tokens.weight"]  # tied
    torch.save(out, work / "llm.pt")
    decoder = flow.Flow()
    decoder.load_state_dict(weights(args.parts / "flow.train.pt"))
    torch.save(decoder.export(), work / "flow.pt")
    recogniser = Recogniser().eval()
    recogniser.load_state_dict(weights(args.parts / "recogniser.pt"))
    export_tokenizer(recogniser, work / "speech_tokenizer_v2.onnx")
    if (args.parts / "speaker.pt").exists():
        encoder = SpeakerEncoder()
        encoder.load_state_dict(weights(args.parts / "speaker.pt"))
        export_speaker(encoder, work / "campplus.onnx")
    if (args.parts / "hift.pt").exists():
        shutil.copyfile(args.parts / "hift.pt", work / "hift.pt")
    torch.save(speakers(args.parts, torch.load(work / "spk2info.pt", weights_only=True)), work / "spk2info.pt")

    sizes = {}
    for name in ("llm", "flow", "hift"):
        new, old = (torch.load(d / f"{name}.pt", weights_only=True) for d in (work, args.base))
        assert generic(new) == generic(old), (name, generic(new) ^ generic(old))
        sizes[name] = round(sum(v.numel() for k, v in new.items() if "lm_head" not in k) / 1e6, 2)
    sizes["speech_tokenizer"] = round(sum(p.numel() for p in recogniser.parameters()) / 1e6, 2)
    previous = args.out.with_name(args.out.name + ".old")
    shutil.rmtree(previous, ignore_errors=True)
    if args.out.exists():
        args.out.rename(previous)
    work.rename(args.out)
    shutil.rmtree(previous, ignore_errors=True)
    print("parameters in millions", json.dumps(sizes))


if __name__ == "__main__":
    main()

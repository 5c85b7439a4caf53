"""Train the speech tokenizer (recogniser.py) on the audio stream, and on recordings of people with aligned texts.

    python train_recogniser.py --data D [--people DP] --out O --seconds 80 [--init recogniser.people.pt]

Rows are slices of 2 to 10 s, a third of them people's; gain, tilt and noise are varied so that recordings unlike the
teacher's still work. Writes recogniser.pt.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import tokens
from recogniser import Recogniser
from stream import Mixture
from training import Average, Clock, cosine, halves, save, weights


def vary(mel):
    """Random level, spectral tilt and noise floor on whisper log-mels (B, T, 128)."""
    batch, device = len(mel), mel.device
    level = torch.randn(batch, 1, 1, device=device) * 0.06
    tilt = torch.randn(batch, 1, 1, device=device) * 0.1 * torch.linspace(-1, 1, 128, device=device)
    floor = mel.amin((1, 2), keepdim=True) + torch.rand(batch, 1, 1, device=device) * 0.7 * (
        torch.rand(batch, 1, 1, device=device) < 0.4
    )
    noise = floor + torch.randn_like(mel) * 0.1
    power = 10 ** (4 * mel.clamp(-3, 3)) + 10 ** (4 * noise.clamp(-3, 3)) * (
        torch.rand(batch, 1, 1, device=device) < 0.5
    )
    mel = torch.log10(power) / 4
    mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 2)
    return mel + level + tilt


def loss(out, codes):
    """Of the recogniser's (phone, pitch, position) logits, each (B, T, n), against codes (B, T)."""
    return sum(
        F.cross_entropy(o.float().flatten(0, 1), w.flatten()) * k
        for o, w, k in zip(out, tokens.split(codes), (1, 0.5, 0.5), strict=True)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--people-share", type=float, default=0.35)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=80)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    cuda = args.device == "cuda"
    data = Mixture.load([args.data], args.people, args.people_share, ["tokens", "whisper"], args.device)
    clock = Clock(args.seconds)
    model = Recogniser().to(args.device)
    if args.init:
        model.load_state_dict(weights(args.init))
    average = Average(model)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=0.02, fused=cuda)
    print(f"recogniser: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    step, marked = 0, time.time()
    while clock.running():
        slots = (50, 100, 150, 250)[step % 4]
        codes, mel = data.draw(["tokens", "whisper"], max(4, args.rows * 100 // slots), slots, at_sentence=0.5)
        codes, mel = codes.long(), vary(mel.float())
        for group in optimiser.param_groups:
            group["lr"] = cosine(clock.elapsed, args.seconds, 2e-3, 8)
        with torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            out = model(mel.transpose(1, 2))
        error, wanted = loss(out, codes), tokens.split(codes)
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update()
        step += 1
        if step % 300 == 0 or step == 2:
            right = [(o.argmax(-1) == w).float().mean().item() for o, w in zip(out, wanted, strict=True)]
            print(
                f"recogniser {step} {clock.elapsed:.0f} s loss {error:.3f} phone %.3f pitch %.3f position %.3f"
                % tuple(right),
                f"{(time.time() - marked) / min(step, 300) * 1e3:.0f} ms",
                flush=True,
            )
            marked = time.time()
    average.swap()
    save(halves(model.state_dict()), args.out / "recogniser.pt")
    (args.out / "recogniser.done").touch()


if __name__ == "__main__":
    main()

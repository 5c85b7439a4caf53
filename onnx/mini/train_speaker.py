"""Train the speaker encoder to tell identities apart, and embed everything with it.

    python train_speaker.py --data D [--people DP] --pack P --out O --seconds 70
    python train_speaker.py --data DP --pack P --out O --seconds 0      # embed a set that has been made anew

Additive angular margin softmax (ArcFace, arXiv 1801.07698) over all identities of both sets, each as often as any
other; crops of 2 to 4 s. Starts from O/speaker.pt or P/speaker.pt where there is one. Writes speaker.pt, embeddings of
pieces of up to 4 s into the sets' utterances.pt, and voices.spk.pt: the built-in voices, as spk2info.pt has them.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import features
from identities import BUILT_IN
from speaker import SpeakerEncoder
from stream import Mixture
from training import Average, Clock, Progress, cosine, save, weights

SCALE, MARGIN = 30.0, 0.2
PIECE = 100  # tokens of an embedded piece


def fbank(audio, bank):
    """int16 audio (B, L at 24 kHz) -> Kaldi features minus their mean (B, T, 80)"""
    low = features.resample(audio.float() / 32767, 3, 2)
    x = features.fbank(F.pad(low, (0, 240)), bank)
    return x - x.mean(1, keepdim=True)


def draw(streams, batch, slots):
    """Crops of random identities -> audio (B, 960 slots), class (B,)"""
    audio, labels, offset = [], [], 0
    total = sum(len(s.people) for s in streams)
    for s in streams:
        able = (s.end - s.begin >= slots).nonzero()[:, 0]
        count = max(1, round(batch * len(s.people) / total))
        person = able[torch.randint(len(able), (count,), device=s.device)]
        room = (s.end - s.begin)[person] - slots
        first = s.begin[person] + (torch.rand(count, device=s.device) * (room + 1)).long()
        audio.append(s.slice("audio", first, slots))
        labels.append(person + offset)
        offset += len(s.people)
    return torch.cat(audio).flatten(1), torch.cat(labels)


def spoil(x):
    """Noise on some rows of the features, so that a quiet room is no mark of a voice."""
    level = torch.rand(len(x), 1, 1, device=x.device) * (torch.rand(len(x), 1, 1, device=x.device) < 0.5)
    return x + level * torch.randn_like(x)


@torch.no_grad()
def embed(model, stream, bank, folder):
    """Embeddings of pieces, in the order of identities, into the set's utterances.pt."""
    table = stream.table
    count = (table[:, 3] + PIECE - 1) // PIECE
    owner = torch.arange(len(table), device=table.device).repeat_interleave(count)
    number = torch.arange(len(owner), device=table.device) - (count.cumsum(0) - count).repeat_interleave(count)
    size = -(-table[owner, 3] // count[owner])
    first = torch.minimum(table[owner, 2] + number * size, table[owner, 2] + table[owner, 3] - size)
    out = torch.zeros(len(owner), 192, device=table.device)
    for slots in size.unique().tolist():
        for chosen in (size == slots).nonzero()[:, 0].split(256):
            out[chosen] = model(fbank(stream.slice("audio", first[chosen], slots).flatten(1), bank))
    meta = torch.load(folder / "utterances.pt", weights_only=True)
    save({**meta, "embeddings": out.cpu(), "embedded": table[owner, 1].cpu()}, folder / "utterances.pt")
    stream.embed(out, table[owner, 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=70)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    streams = Mixture.load([args.data], args.people, 0.0, ["audio"], args.device).streams
    bank = torch.load(args.pack / "voices.pt", weights_only=True)["banks"]["kaldi"].to(args.device)
    model, clock = SpeakerEncoder().to(args.device), Clock(args.seconds)
    for path in (args.out / "speaker.pt", args.pack / "speaker.pt"):
        if path.exists():
            model.load_state_dict(weights(path))
            break
    classes = torch.nn.Parameter(torch.randn(sum(len(s.people) for s in streams), 192, device=args.device))
    average = Average(model, 0.99)
    optimiser = torch.optim.AdamW([*model.parameters(), classes], 1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    progress = Progress("speaker", "loss %.3f right %.3f", 200, clock)
    while clock.running():
        audio, label = draw(streams, args.rows, (50, 75, 100)[progress.step % 3])
        for group in optimiser.param_groups:
            group["lr"] = cosine(clock.elapsed, args.seconds, 1e-3, 5)
        with torch.autocast("cuda", torch.bfloat16, enabled=args.device == "cuda"):
            out = model(spoil(fbank(audio, bank)))
        angle = F.normalize(out.float(), dim=1) @ F.normalize(classes, dim=1).t()
        margin = MARGIN * min(1.0, clock.elapsed / (0.3 * args.seconds))
        shifted = torch.cos(torch.acos(angle.gather(1, label[:, None]).clamp(-0.999, 0.999)) + margin)
        loss = F.cross_entropy(SCALE * angle.scatter(1, label[:, None], shifted), label)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update()
        progress.add(torch.stack([loss.detach(), (angle.argmax(1) == label).float().mean()]))
    if progress.step:
        average.swap()
        save({k: v.cpu() for k, v in model.state_dict().items()}, args.out / "speaker.pt")
    model.eval()
    for stream, folder in zip(streams, (args.data, args.people), strict=False):
        embed(model, stream, bank, folder)
    built_in = {n: streams[0].people.index(v) for n, v in BUILT_IN.items() if v in streams[0].people}
    if built_in:
        voices = {n: {"embedding": streams[0].centroids[i][None].cpu().clone()} for n, i in built_in.items()}
        save(voices, args.out / "voices.spk.pt")
    print(f"speaker done: {progress.step} steps, {len(classes)} identities, {clock.elapsed:.0f} s", flush=True)
    (args.out / "speaker.done").touch()


if __name__ == "__main__":
    main()

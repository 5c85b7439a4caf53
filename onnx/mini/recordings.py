"""Recordings of people as training data: what they say in codes, by forced alignment, and the stream for training.

    python recordings.py label LIST.tsv --recogniser O/recogniser.pt --out P
    python recordings.py stream --pack P --out D [--rates 1,0.9,1.1]        # on the GPU machine

LIST.tsv: path, speaker, text; English only. `label` lets the recogniser learn from its own alignment of the texts and
writes P/people.pt (phonemes and F0), P/recogniser.people.pt and P/people_*.ogg (the recordings, cut to what is said);
recordings that do not fit their text are left out. `stream` writes what generate.py audio writes. A recording resampled
by a rate is another identity, as with the teacher.
"""

import argparse
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import align
import features
import tokens
import train_recogniser
from recogniser import Recogniser
from training import weights

RATE = 16000
SLOT = 640  # samples of 16 kHz
FRAME = 0.005  # seconds of an F0 frame
LEAST_SCORE = -1.6  # mean log-probability of a slot under its text, below which a recording is left out
WORST = -3.5  # likewise, while the recogniser still learns
PEAK = 0.8
SHARD = 160  # recordings in a file
GAP = RATE // 10  # between recordings in a file


@torch.no_grad()
def hear(model, audio, bank):
    """Audio (L,) -> log-probabilities of phones (L / 640, 243)"""
    return model(features.whisper_mel(audio[None], bank))[0][0].float().log_softmax(-1).cpu().numpy()


def fundamental(audio):
    """F0 every 5 ms, 0 where unvoiced (WORLD's dio and stonemask)."""
    import pyworld

    x = audio.numpy().astype(np.float64)
    f0, times = pyworld.dio(x, RATE, f0_floor=60, f0_ceil=600)
    return pyworld.stonemask(x, f0, times, RATE)


def at_times(f0, seconds):
    return f0[np.minimum((seconds / FRAME).astype(int), len(f0) - 1)]


def pitch_levels(f0, slots, rate, mean):
    """As tokens.pitch_levels, of a recording that lasts `rate` times as long as the one F0 was measured on."""
    points = at_times(f0, (np.arange(slots)[:, None] + np.array([0.2, 0.5, 0.8])) * 0.04 / rate)
    voiced = points > 40
    count = voiced.sum(1)
    middle = (np.log(np.maximum(points, 1)) * voiced).sum(1) / np.maximum(count, 1)
    level = 1 + np.digitize((middle - mean) * 12 / math.log(2), tokens.PITCH_EDGES)
    return np.where(count >= 2, level, 0)


def positions(path):
    """First, second or later slot of the phone it belongs to."""
    start = np.concatenate([[True], path[1:] != path[:-1]])
    first = np.maximum.accumulate(np.where(start, np.arange(len(path)), 0))
    return np.minimum(np.arange(len(path)) - first, tokens.POSITIONS - 1)


def cut(audio, path, last_state):
    """The recording with three slots of silence before and two after what is said."""
    said = np.flatnonzero((path != 0) & (path != last_state))
    begin, end = max(0, said[0] - tokens.LEAD_SLOTS), min(len(path), said[-1] + 1 + tokens.TAIL_SLOTS)
    return audio[begin * SLOT : end * SLOT]


@dataclass
class Recording:
    speaker: str
    phones: str
    audio: torch.Tensor  # 16 kHz
    f0: np.ndarray
    found: tuple | None = None  # of align.align

    def codes(self, mean, rate=1.0):
        path, classes, _ = self.found
        return tokens.join(classes, pitch_levels(self.f0, len(path), rate, mean), positions(path))


def read(path):
    import librosa

    audio = librosa.load(path, sr=RATE)[0]
    return torch.from_numpy(audio * (PEAK / max(1e-3, np.abs(audio).max())))


def recordings(path):
    """Recordings of a list whose text can be said in phonemes."""
    from phonemize import g2p

    convert = g2p("en")
    for line in open(path, encoding="utf8"):
        path, speaker, text = line.rstrip("\n").split("\t")
        phones = convert(text)[0]
        if phones and "❓" not in phones:
            audio = read(path)
            yield Recording(speaker, phones, audio, fundamental(audio))


def align_all(model, all_of_them, bank):
    for r in all_of_them:
        r.found = align.align(hear(model, r.audio, bank), r.phones)
    fitting = [r for r in all_of_them if r.found and r.found[2] > WORST]
    scores = np.array([r.found[2] for r in fitting])
    print(f"{len(fitting)} of {len(all_of_them)} fit, log-probability {scores.mean():.3f}", flush=True)
    return fitting


def stretch(audio, rate):
    """(L,) resampled to last `rate` times as long, in hundredths."""
    return features.resample(audio[None], 100, round(100 * rate))[0] if rate != 1 else audio


def means(all_of_them):
    """Mean log-F0 of each speaker."""
    voiced = {}
    for r in all_of_them:
        voiced.setdefault(r.speaker, []).append(np.log(r.f0[r.f0 > 40]))
    return {s: float(np.concatenate(v).mean()) if sum(map(len, v)) else 5.0 for s, v in voiced.items()}


def learn(model, fitting, bank, rows, slots, rate=4e-4):
    """One pass over the recordings with the codes of their alignment: the recogniser gets used to people."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.02)
    middle, pieces = means(fitting), []
    for r in fitting:
        codes, mel = torch.from_numpy(r.codes(middle[r.speaker])), features.whisper_mel(r.audio[None], bank)[0].t()
        for first in range(0, max(1, len(codes) - slots // 2), slots):
            first = max(0, min(first, len(codes) - slots))
            pieces.append((codes[first : first + slots], mel[4 * first : 4 * (first + slots)]))
    pieces = [p for p in pieces if len(p[0]) == slots and len(p[1]) == 4 * slots]
    order = torch.randperm(len(pieces)).tolist()
    for step, first in enumerate(range(0, len(order) - rows + 1, rows)):
        codes, mel = (torch.stack(x) for x in zip(*(pieces[i] for i in order[first : first + rows]), strict=True))
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (1 - 0.8 * first / len(order))
        loss = train_recogniser.loss(model(train_recogniser.vary(mel).transpose(1, 2)), codes)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        if step % 20 == 0:
            print(f"  step {step} loss {loss:.3f}", flush=True)
    model.eval()


def label(arguments):
    torch.manual_seed(0)
    bank = features.filter_banks()["whisper"]
    model = Recogniser().eval()
    model.load_state_dict(weights(arguments.recogniser))
    everything = list(recordings(arguments.list))
    print(f"{len(everything)} recordings, {sum(len(r.audio) for r in everything) / RATE / 3600:.2f} h", flush=True)
    for _ in range(arguments.rounds):
        learn(model, align_all(model, everything, bank), bank, 16, 100)
    fitting = [r for r in align_all(model, everything, bank) if r.found[2] > LEAST_SCORE]
    for r in fitting:
        r.audio = cut(r.audio, r.found[0], len(align.groups(r.phones)) - 1)
        r.f0 = fundamental(r.audio)
    torch.save({k: v.half() for k, v in model.state_dict().items()}, arguments.out / "recogniser.people.pt")
    data = {
        "speakers": [r.speaker for r in fitting],
        "phones": [r.phones for r in fitting],
        "lengths": [len(r.audio) for r in fitting],
        "f0": [torch.from_numpy(r.f0).half() for r in fitting],
    }
    torch.save(data, arguments.out / "people.pt")
    write_audio(fitting, arguments.out, arguments.compression)
    hours = sum(data["lengths"]) / RATE / 3600
    print(f"{len(fitting)} recordings of {len(set(data['speakers']))} people, {hours:.2f} h")


def write_audio(fitting, out, compression):
    import soundfile

    for first in range(0, len(fitting), SHARD):
        whole = torch.cat([F.pad(r.audio, (0, GAP)) for r in fitting[first : first + SHARD]])
        path = out / f"people_{first // SHARD:03d}.ogg"
        with soundfile.SoundFile(
            path, "w", RATE, 1, format="OGG", subtype="OPUS", compression_level=compression
        ) as file:
            for piece in np.array_split(whole.numpy(), 1 + len(whole) // (30 * RATE)):  # it fails on long ones
                file.write(piece)


def decode(pack):
    """All recordings, in order."""
    import soundfile

    lengths = torch.load(pack / "people.pt", weights_only=True)["lengths"]

    def one(path):
        return soundfile.read(path, dtype="float32")[0]

    with ThreadPoolExecutor() as pool:
        shards = list(pool.map(one, sorted(pack.glob("people_*.ogg"))))
    out = []
    for number, length in enumerate(lengths):
        if number % SHARD == 0:
            shard, at = torch.from_numpy(shards[number // SHARD]), 0
        out.append(shard[at : at + length])
        at += length + GAP
    return out


def codes_of(recording, mean, rate):
    """Codes (N,) and F0 (2N,) of a recording with its alignment at a rate."""
    slots = len(recording.found[0])
    pitch = at_times(recording.f0, (np.arange(2 * slots) + 0.5) * 0.02 / rate) / rate
    return torch.from_numpy(recording.codes(mean, rate).astype(np.int16)), torch.from_numpy(pitch).half()


@torch.no_grad()
def features_of(low, slots, banks):
    """Features of `slots` tokens of audio (1, L) at 16 kHz, as generate.py has them."""
    wave = features.resample(low, 2, 3)
    wave, low = (F.pad(x[:, :n], (0, max(0, n - x.shape[1]))) for x, n in ((wave, slots * 960), (low, slots * SLOT)))
    return {
        "mel": features.mel(wave, banks["mel"])[0].t().half().cpu(),
        "whisper": features.whisper_mel(low, banks["whisper"])[0].t().half().cpu(),
        "audio": (wave[0] * 32767).round().to(torch.int16).cpu(),
    }


def stream(arguments):
    device, pack = arguments.device, torch.load(arguments.pack / "people.pt", weights_only=True)
    banks = {k: v.to(device) for k, v in torch.load(arguments.pack / "voices.pt", weights_only=True)["banks"].items()}
    model = Recogniser().eval().to(device)
    model.load_state_dict(weights(arguments.recogniser or arguments.pack / "recogniser.people.pt"))
    everything = [
        Recording(speaker, phones, audio, f0.numpy().astype(np.float64))
        for speaker, phones, audio, f0 in zip(
            pack["speakers"], pack["phones"], decode(arguments.pack), pack["f0"], strict=True
        )
    ]
    everything.sort(key=lambda r: r.speaker)
    middle, names, table = means(everything), [], []
    out = {k: [] for k in ("tokens", "mel", "whisper", "audio", "f0")}
    rates = [float(r) for r in arguments.rates.split(",")]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        for rate in rates:
            longer = [stretch(r.audio.to(device), rate) for r in everything]
            whole = [round(len(r.audio) * rate) // SLOT * SLOT for r in everything]
            heard = [hear(model, x[:n], banks["whisper"]) for x, n in zip(longer, whole, strict=True)]
            found = pool.map(align.align, heard, [r.phones for r in everything], chunksize=16)
            for number, (r, low, f) in enumerate(zip(everything, longer, found, strict=True)):
                if f is None or f[2] < LEAST_SCORE:
                    continue
                r.found = f
                name = f"{r.speaker}*{rate}"
                if not names or names[-1] != name:
                    names.append(name)
                codes, f0 = codes_of(r, middle[r.speaker], rate)
                out["tokens"].append(codes)
                out["f0"].append(f0)
                for k, v in features_of(low[None], len(codes), banks).items():
                    out[k].append(v)
                table.append([number, len(names) - 1, 0, len(codes)])
    for name, parts in out.items():
        torch.save(torch.cat(parts), arguments.out / f"{name}.pt")
    table = torch.tensor(table)
    table[:, 2] = table[:, 3].cumsum(0) - table[:, 3]
    torch.save({"table": table, "names": names}, arguments.out / "utterances.pt")
    (arguments.out / "people.done").touch()
    print(
        f"{len(names)} identities, {int(table[:, 3].sum()) / 90000:.1f} h of {len(everything)} recordings", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("label")
    step.add_argument("list", type=Path)
    step.add_argument("--recogniser", type=Path, required=True, help="recogniser.pt, trained on the teacher")
    step.add_argument("--rounds", type=int, default=2, help="of learning from its own alignment")
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--compression", type=float, default=0.85, help="of Opus, 0 to 1")
    step.set_defaults(run=label)
    step = steps.add_parser("stream")
    step.add_argument("--pack", type=Path, required=True)
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--rates", default="1,0.88,0.94,1.07,1.14")
    step.add_argument("--recogniser", type=Path, help="instead of the pack's")
    step.add_argument("--device", default="cuda")
    step.set_defaults(run=stream)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.run(arguments)


if __name__ == "__main__":
    main()

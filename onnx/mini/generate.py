"""Let the teacher speak: training data for all stages, made on the GPU in minutes.

    python generate.py prosody --pack DIR --out DIR --seconds 90     # tokens only, for the language model
    python generate.py audio   --pack DIR --out DIR --seconds 110    # tokens and audio, for the rest

prosody writes shards `prosody_*.pt`: tokens (int16, concatenated), length, sentence, identity and tempo of each
utterance. audio writes one file per feature, concatenated over utterances *ordered by identity*, so that any slice of
the stream is one voice: tokens (N,), mel (2N, 80), whisper (4N, 128), audio (960N,), f0 (2N,), and utterances.pt:
table (U, 4) of sentence, identity, first token, token count; embeddings (U, 192); the names of the identities.

An identity is a teacher voice, possibly resampled by a few percent, which a speaker verifier hears as another person.
"""

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import features
import tokens
from speaker import SpeakerEncoder
from teacher import Kokoro

BUILT_IN = {"英文女": "af_heart", "英文男": "am_michael", "中文女": "zf_xiaoxiao", "中文男": "zm_yunxi"}
RATES = [0.9, 0.925, 0.95, 1.05, 1.075, 1.1, 1.125]
NORMAL, SLOW, FAST = range(3)


def identities(names, rng):
    """[(voice index, rate)]: every voice as it is, then resampled ones."""
    plain = [(i, 1.0) for i in range(len(names))]
    return plain + [(i, rng.choice(RATES)) for i in range(len(names)) for _ in range(2)]


class Casting:
    """Who speaks a sentence: the built-in voices often, everyone else in their own language mostly."""

    def __init__(self, names, people, rng, built_in_share):
        self.rng, self.share = rng, built_in_share
        self.built_in = {n: names.index(n) for n in BUILT_IN.values()}
        self.by_language = [
            [p for p, (v, _) in enumerate(people) if (names[v][0] == "z") == (lang == 1)] for lang in (0, 1)
        ]
        self.odds = (
            {"af_heart": 0.42, "am_michael": 0.34, "zf_xiaoxiao": 0.13, "zm_yunxi": 0.11},
            {"af_heart": 0.11, "am_michael": 0.11, "zf_xiaoxiao": 0.4, "zm_yunxi": 0.38},
        )

    def __call__(self, language):
        r = self.rng
        if r.random() < self.share:
            odds = self.odds[language]
            return self.built_in[r.choices(list(odds), list(odds.values()))[0]]
        return r.choice(self.by_language[language if r.random() < 0.8 else 1 - language])

    def tempo(self):
        r = self.rng.random()
        if r < 0.9:
            return self.rng.uniform(0.95, 1.1), NORMAL
        return (self.rng.uniform(0.62, 0.75), SLOW) if r < 0.95 else (self.rng.uniform(1.35, 1.6), FAST)


class Studio:
    def __init__(self, pack, device, seed, built_in_share, fuse=False):
        self.device, self.rng = device, random.Random(seed)
        self.text = torch.load(pack / "text.pt", weights_only=True)
        voices = torch.load(pack / "voices.pt", weights_only=True)
        self.banks = {k: v.to(device) for k, v in voices["banks"].items()}
        self.teacher = Kokoro(torch.load(pack / "kokoro.pt", weights_only=True), device, fuse)
        self.people = identities(voices["names"], random.Random(5))
        self.names = [f"{voices['names'][v]}*{r}" if r != 1 else voices["names"][v] for v, r in self.people]
        self.packs = voices["packs"].float().to(device)
        self.phones = self.text["phones"].to(device)
        self.start = self.text["phone_offsets"].long()
        self.size = (self.start[1:] - self.start[:-1]) + 2
        self.casting = Casting(voices["names"], self.people, self.rng, built_in_share)
        self.mean_log_f0 = torch.zeros(len(voices["names"]), device=device)

    def batches(self, frames, most, mode_allowed=True):
        """Endless batches of (sentence, identity, speed, tempo) with one resampling rate and similar lengths each."""
        order = list(range(len(self.size)))
        while True:
            self.rng.shuffle(order)
            for first in range(0, len(order), 16384):
                by_rate = {}
                for s in order[first : first + 16384]:
                    person = self.casting(int(self.text["language"][s]))
                    speed, mode = self.casting.tempo() if mode_allowed else (self.rng.uniform(0.95, 1.1), NORMAL)
                    by_rate.setdefault(self.people[person][1], []).append((s, person, speed, mode))
                out = []
                for jobs in by_rate.values():
                    jobs.sort(key=lambda j: int(self.size[j[0]]) / j[2])
                    batch = []
                    for job in jobs:
                        if (
                            batch
                            and (len(batch) + 1) * (int(self.size[job[0]]) / job[2] * 3.3 + 12) > frames
                            or len(batch) >= most
                        ):
                            out.append(batch)
                            batch = []
                        batch.append(job)
                    out.append(batch)
                self.rng.shuffle(out)
                yield from out

    def speak(self, batch):
        """Prosody of a batch -> everything up to the vocoder, as a dict."""
        device = self.device
        sentence = torch.tensor([j[0] for j in batch])
        person = torch.tensor([j[1] for j in batch])
        voice = torch.tensor([self.people[j[1]][0] for j in batch], device=device)
        rate = torch.full((len(batch),), self.people[batch[0][1]][1], device=device)
        speed = torch.tensor([j[2] for j in batch], device=device)
        lengths = self.size[sentence]
        column = torch.arange(int(lengths.max()), device=device)[None]
        inside = (column > 0) & (column < lengths.to(device)[:, None] - 1)
        index = (self.start[sentence].to(device)[:, None] + column - 1).clamp(0, len(self.phones) - 1)
        ids = torch.where(inside, self.phones[index].long(), 0)
        style = self.packs[voice, (lengths - 3).clamp(0, self.packs.shape[1] - 1).to(device)]
        x, durations = self.teacher.prosody(ids, lengths, style, speed)
        counts, cut, phone, position, durations = tokens.lay_out(ids, lengths.to(device), durations, rate)
        owner = self.teacher.align(durations)
        f0, energy = self.teacher.pitch(x, owner, style)
        pitch = tokens.pitch_levels(f0, phone.shape[1], rate, self.mean_log_f0[voice])
        counts = counts - cut
        kept = cut[:, None] + torch.arange(int(counts.max()), device=device)[None]
        phone, pitch, position = (x.gather(1, kept.clamp(max=x.shape[1] - 1)) for x in (phone, pitch, position))
        inside = torch.arange(phone.shape[1], device=device)[None] < counts[:, None]
        return {
            "sentence": sentence,
            "person": person,
            "ids": ids,
            "lengths": lengths,
            "owner": owner,
            "style": style,
            "f0": f0,
            "energy": energy,
            "codes": tokens.join(phone, pitch, position),
            "counts": counts,
            "cut": cut,
            "inside": inside,
            "rate": self.people[batch[0][1]][1],
            "voice": voice,
        }

    @torch.no_grad()
    def measure_pitch(self, sentences=24):
        """Mean log-F0 of each teacher voice."""
        total, count = torch.zeros_like(self.mean_log_f0), torch.zeros_like(self.mean_log_f0)
        for first in range(0, len(self.mean_log_f0), 8):
            voices = range(first, min(first + 8, len(self.mean_log_f0)))
            chosen = self.rng.sample(range(len(self.size)), sentences)
            out = self.speak([(s, v, 1.0, NORMAL) for v in voices for s in chosen])
            voiced = out["f0"] > 40
            total.index_add_(0, out["voice"], (out["f0"].clamp(min=1).log() * voiced).sum(1))
            count.index_add_(0, out["voice"], voiced.sum(1).float())
        self.mean_log_f0 = total / count.clamp(min=1)


@torch.no_grad()
def prosody(studio, out, seconds, limit, shard_seconds=20):
    start, shard, done = time.time(), 0, 0
    kept, table, last = [], [], time.time()

    def flush():
        nonlocal kept, table, shard, last
        data = {"tokens": torch.cat(kept).cpu(), "table": torch.cat(table).cpu()}
        torch.save(data, out / f"prosody_{shard:02d}.tmp")
        (out / f"prosody_{shard:02d}.tmp").rename(out / f"prosody_{shard:02d}.pt")
        shard, kept, table, last = shard + 1, [], [], time.time()

    for batch in studio.batches(60000, 640):
        o = studio.speak(batch)
        good = (o["counts"] >= 12) & (o["counts"] <= 600)
        kept.append(o["codes"].to(torch.int16)[o["inside"] & good[:, None]])
        mode = torch.tensor([j[3] for j in batch])
        table.append(torch.stack([o["sentence"], o["person"], mode, o["counts"].cpu()], 1)[good.cpu()])
        done += len(batch)
        if time.time() - last > shard_seconds:
            print(
                f"prosody {done} utterances, {sum(len(k) for k in kept) / 90000:.1f} h in this shard,",
                f"{time.time() - start:.0f} s",
                flush=True,
            )
            flush()
        if time.time() - start > seconds or done >= limit:
            break
    if kept:
        flush()
    torch.save(studio.names, out / "people.pt")
    (out / "prosody.done").touch()
    print(f"prosody done: {done} utterances in {time.time() - start:.0f} s", flush=True)


@torch.no_grad()
def audio(studio, pack, out, seconds, limit, frames, wanted):
    device, start = studio.device, time.time()
    encoder = SpeakerEncoder().to(device).eval()
    encoder.load_state_dict(torch.load(pack / "speaker.pt", weights_only=True))
    store = {k: {} for k in ("tokens", "mel", "whisper", "audio", "f0", "embeddings", "table")}
    total = done = 0
    for number, batch in enumerate(studio.batches(frames, 160, mode_allowed=False)):
        try:
            o = studio.speak(batch)
            wave = 1.5 * studio.teacher.vocode(o["ids"], o["lengths"], o["owner"], o["style"], o["f0"], o["energy"])
            r, most = o["rate"], o["codes"].shape[1]
            if r != 1:
                wave = features.resample(wave, 40, round(40 * r))
            kept = o["cut"][:, None] * 960 + torch.arange(most * 960, device=device)[None]
            wave = F.pad(wave, (0, 1)).gather(1, kept.clamp(max=wave.shape[1]))
            wave = wave * (torch.arange(most * 960, device=device)[None] < o["counts"][:, None] * 960)
            wave = wave * (0.95 / wave.abs().amax(1).clamp(min=0.95))[:, None]
            low = features.resample(wave, 3, 2)
            kaldi = features.fbank(F.pad(low, (0, 240)), studio.banks["kaldi"])[:, : 4 * most]
            inside4 = torch.arange(4 * most, device=device)[None] < 4 * o["counts"][:, None]
            mean = (kaldi * inside4[..., None]).sum(1, keepdim=True) / inside4.sum(1)[:, None, None]
            at = (torch.arange(2 * most, device=device)[None] + 2 * o["cut"][:, None] + 0.5) * (0.02 * 80 / r) - 0.5
            f0 = torch.where(o["f0"] > 10, o["f0"] / r, 0).gather(1, at.round().long().clamp(0, o["f0"].shape[1] - 1))
            rows = {
                "tokens": o["codes"].to(torch.int16)[..., None],
                "audio": (wave * 32767).round().to(torch.int16).view(len(batch), most, 960),
                "mel": features.mel(wave, studio.banks["mel"]).transpose(1, 2).half().reshape(len(batch), most, 160),
                "whisper": features.whisper_mel(low, studio.banks["whisper"])
                .transpose(1, 2)[:, : 4 * most]
                .half()
                .reshape(len(batch), most, 512),
                "f0": f0.half().view(len(batch), most, 2),
            }
            embedding = encoder((kaldi - mean) * inside4[..., None], inside4[:, ::2])
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            print("out of memory, skipped", len(batch), flush=True)
            continue
        good = (o["counts"] >= 12) & (o["counts"] <= 600)
        for p in set(o["person"].tolist()):
            mine = good & (o["person"] == p).to(device)
            if mine.any():
                for k, v in ((k, rows[k]) for k in wanted):
                    store[k].setdefault(p, []).append(v[mine[:, None] & o["inside"]])
                store["embeddings"].setdefault(p, []).append(embedding[mine])
                store["table"].setdefault(p, []).append(
                    torch.stack([o["sentence"][mine.cpu()], o["counts"][mine].cpu()], 1)
                )
        total, done = total + int(o["counts"].sum()), done + len(batch)
        if number % 100 == 0:
            print(f"audio {done} utterances, {total / 90000:.2f} h, {time.time() - start:.0f} s", flush=True)
        if time.time() - start > seconds or done >= limit:
            break
    people = sorted(store["table"])
    for k in wanted:
        whole = torch.cat([x for p in people for x in store[k].pop(p)])
        width = {"tokens": None, "mel": 80, "whisper": 128, "audio": None, "f0": None}[k]
        torch.save((whole.view(-1) if width is None else whole.view(-1, width)).cpu(), out / f"{k}.pt")
    table = torch.cat(
        [torch.cat([t[:, :1], torch.full_like(t[:, :1], p), t[:, 1:]], 1) for p in people for t in store["table"][p]]
    )
    first = table[:, 2].cumsum(0) - table[:, 2]
    table = torch.stack([table[:, 0], table[:, 1], first, table[:, 2]], 1)
    torch.save(
        {
            "table": table,
            "embeddings": torch.cat([e for p in people for e in store["embeddings"][p]]).cpu(),
            "names": studio.names,
        },
        out / "utterances.pt",
    )
    (out / "audio.done").touch()
    print(f"audio done: {done} utterances, {total / 90000:.2f} h in {time.time() - start:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["prosody", "audio"])
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--limit", type=int, default=10**9, help="utterances at most")
    parser.add_argument("--frames", type=int, default=16000, help="teacher frames in a batch, for audio")
    parser.add_argument("--features", default="tokens,mel,whisper,audio,f0", help="which to keep, for audio")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--plain", action="store_true", help="do not compile")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    studio = Studio(
        args.pack,
        args.device,
        args.seed,
        0.6 if args.kind == "prosody" else 0.4,
        fuse=args.kind == "audio" and args.device == "cuda" and not args.plain,
    )
    studio.measure_pitch(24 if args.device == "cuda" else 1)
    print(
        f"set up in {time.time() - begin:.0f} s, {len(studio.people)} identities, mean F0",
        studio.mean_log_f0.exp().round().int().tolist(),
        flush=True,
    )
    if args.kind == "prosody":
        prosody(studio, args.out, args.seconds, args.limit)
    else:
        audio(studio, args.pack, args.out, args.seconds, args.limit, args.frames, args.features.split(","))


if __name__ == "__main__":
    main()

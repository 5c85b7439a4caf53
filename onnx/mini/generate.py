"""Let the teacher speak: training data for all stages, made on the GPU in minutes.

    python generate.py prosody --pack DIR --out DIR --seconds 90     # tokens only, for the language model
    python generate.py audio   --pack DIR --out DIR --seconds 110    # tokens and audio, for the rest

prosody writes shards `prosody_*.pt`: tokens (int16, concatenated), length, sentence, identity and tempo of each
utterance. audio writes one file per feature, concatenated over utterances *ordered by identity*, so that any slice of
the stream is one voice: tokens (N,), mel (2N, 80), whisper (4N, 128), audio (960N,), f0 (2N,), and utterances.pt:
table (U, 4) of sentence, identity, first token, token count; the names of the identities.

Identities: see identities.py. The embeddings are train_speaker.py's to fill in.
"""

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import features
import tokens
from identities import NORMAL, Cast, Casting, colour, colour_filter, identities
from teacher import Kokoro

BUILT_IN_SHARE = {"prosody": 0.6, "audio": 0.3}  # of the sentences, said by the built-in voices beyond their turn


class Studio:
    def __init__(self, pack, device, seed, built_in_share, fuse=False, made=14, mandarin=0.4, strangers=False):
        """made: identities from each voice, with or without strangers; mandarin: share of the sentences"""
        self.device, self.rng = device, random.Random(seed)
        self.text = torch.load(pack / "text.pt", weights_only=True)
        voices = torch.load(pack / "voices.pt", weights_only=True)
        self.banks = {k: v.to(device) for k, v in voices["banks"].items()}
        self.teacher = Kokoro(torch.load(pack / "kokoro.pt", weights_only=True), device, fuse)
        self.people = identities(voices["names"], made, random.Random(5 + seed), strangers)
        self.names = [
            voices["names"][p.voice] + ("" if i < len(voices["names"]) else f"*{i}") for i, p in enumerate(self.people)
        ]
        self.rate, self.f0 = (torch.tensor([getattr(p, n) for p in self.people], device=device) for n in ("rate", "f0"))
        self.filters = torch.stack([colour_filter(p.colour) for p in self.people]).to(device)
        self.mandarin = mandarin
        self.cast = Cast(self.people, voices["packs"].float().to(device))
        self.phones = self.text["phones"].to(device)
        self.start = self.text["phone_offsets"].long()
        self.size = (self.start[1:] - self.start[:-1]) + 2
        self.casting = Casting(voices["names"], self.people, self.rng, built_in_share)
        self.mean_log_f0 = torch.zeros(len(self.people), device=device)

    def read(self, sentences):
        """Take these phoneme strings instead of the pack's sentences."""
        ids = [tokens.encode(phones) for phones in sentences]
        self.phones = torch.tensor([i for sentence in ids for i in sentence], dtype=torch.uint8, device=self.device)
        self.start = torch.tensor([0, *map(len, ids)]).cumsum(0)
        self.size = (self.start[1:] - self.start[:-1]) + 2

    def order(self):
        """Sentences in random order, those of the rarer language more than once."""
        language = self.text["language"]
        english, mandarin = ((language == k).nonzero()[:, 0].tolist() for k in (0, 1))
        if english and mandarin:
            wanted = self.mandarin / (1 - self.mandarin) * len(english)
            mandarin = mandarin * int(wanted // len(mandarin)) + self.rng.sample(mandarin, int(wanted % len(mandarin)))
        order = english + mandarin
        self.rng.shuffle(order)
        return order

    def batches(self, frames, most, instructed=True):
        """Endless batches of (sentence, identity, speed, tempo) with one resampling rate and similar lengths each."""
        while True:
            order = self.order()
            for first in range(0, len(order), 16384):
                by_rate = {}
                for s in order[first : first + 16384]:
                    language = int(self.text["language"][s])
                    person = self.casting(language)
                    speed, mode = self.casting.tempo(language, instructed)
                    by_rate.setdefault(self.people[person].rate, []).append((s, person, speed, mode))
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
        who = person.to(device)
        rate = self.rate[who]
        speed = torch.tensor([j[2] for j in batch], device=device)
        lengths = self.size[sentence]
        column = torch.arange(int(lengths.max()), device=device)[None]
        inside = (column > 0) & (column < lengths.to(device)[:, None] - 1)
        index = (self.start[sentence].to(device)[:, None] + column - 1).clamp(0, len(self.phones) - 1)
        ids = torch.where(inside, self.phones[index].long(), 0)
        voice = self.cast.style(who, (lengths - 3).clamp(0, self.cast.packs.shape[1] - 1).to(device))
        x, durations = self.teacher.prosody(ids, lengths, voice, speed)
        counts, cut, phone, position, durations = tokens.lay_out(ids, lengths.to(device), durations, rate)
        owner = self.teacher.align(durations)
        f0, energy = self.teacher.pitch(x, owner, voice)
        pitch = tokens.pitch_levels(f0, phone.shape[1], rate, self.mean_log_f0[who])
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
            "style": voice,
            "f0": f0 * self.f0[who][:, None],
            "own_f0": f0,
            "energy": energy,
            "codes": tokens.join(phone, pitch, position),
            "counts": counts,
            "cut": cut,
            "inside": inside,
            "rate": float(rate[0]),
        }

    @torch.no_grad()
    def measure_pitch(self, sentences=12, rows=400):
        """Mean log-F0 of each identity, as the teacher says it: before its F0 is moved and the audio resampled."""
        total, count = torch.zeros_like(self.mean_log_f0), torch.zeros_like(self.mean_log_f0)
        chosen = self.rng.sample(range(len(self.size)), sentences)
        for rate in sorted({p.rate for p in self.people}):
            jobs = [(s, i, 1.0, NORMAL) for i, p in enumerate(self.people) if p.rate == rate for s in chosen]
            for first in range(0, len(jobs), rows):
                out = self.speak(jobs[first : first + rows])
                voiced, who = out["own_f0"] > 40, out["person"].to(self.device)
                total.index_add_(0, who, (out["own_f0"].clamp(min=1).log() * voiced).sum(1))
                count.index_add_(0, who, voiced.sum(1).float())
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
def audio(studio, out, seconds, limit, frames, wanted):
    device, start = studio.device, time.time()
    store, table = {k: [] for k in wanted}, []
    total = done = 0
    for number, batch in enumerate(studio.batches(frames, 160, instructed=False)):
        try:
            o = studio.speak(batch)
            wave = 1.5 * studio.teacher.vocode(o["ids"], o["lengths"], o["owner"], o["style"], o["f0"], o["energy"])
            r, most = o["rate"], o["codes"].shape[1]
            if r != 1:
                wave = features.resample(wave, 50, round(50 * r))
            wave = colour(wave, studio.filters[o["person"].to(device)])
            kept = o["cut"][:, None] * 960 + torch.arange(most * 960, device=device)[None]
            wave = F.pad(wave, (0, 1)).gather(1, kept.clamp(max=wave.shape[1]))
            wave = wave * (torch.arange(most * 960, device=device)[None] < o["counts"][:, None] * 960)
            wave = wave * (0.95 / wave.abs().amax(1).clamp(min=0.95))[:, None]
            low = features.resample(wave, 3, 2)
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
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            print("out of memory, skipped", len(batch), flush=True)
            continue
        good = (o["counts"] >= 12) & (o["counts"] <= 600)
        rows_kept = good[:, None] & o["inside"]
        for k in wanted:
            store[k].append(rows[k][rows_kept])
        table.append(torch.stack([o["sentence"].to(device), o["person"].to(device), o["counts"]], 1)[good])
        total, done = total + int(o["counts"].sum()), done + len(batch)
        if number % 100 == 0:
            print(f"audio {done} utterances, {total / 90000:.2f} h, {time.time() - start:.0f} s", flush=True)
        if time.time() - start > seconds or done >= limit:
            break
    table = torch.cat(table)
    first = table[:, 2].cumsum(0) - table[:, 2]
    order = table[:, 1].argsort(stable=True)
    table, first = table[order], first[order]
    now = table[:, 2].cumsum(0) - table[:, 2]
    slots = torch.arange(int(table[:, 2].sum()), device=device) + (first - now).repeat_interleave(table[:, 2])
    for k in wanted:
        whole = torch.cat(store.pop(k))[slots]
        width = {"tokens": None, "mel": 80, "whisper": 128, "audio": None, "f0": None}[k]
        torch.save((whole.view(-1) if width is None else whole.view(-1, width)).cpu(), out / f"{k}.pt")
    table = torch.stack([table[:, 0], table[:, 1], now, table[:, 2]], 1).cpu()
    torch.save({"table": table, "names": studio.names}, out / "utterances.pt")
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
    parser.add_argument("--made", type=int, default=14, help="identities made from each voice")
    parser.add_argument("--strangers", action="store_true", help="identities whose timbre no mixture of voices has")
    parser.add_argument("--mandarin", type=float, default=0.4, help="share of the sentences")
    parser.add_argument("--built-in", type=float, help=f"the built-in voices' share, if not {BUILT_IN_SHARE}")
    parser.add_argument("--seed", type=int, default=0, help="of the order of sentences and of the identities")
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
        BUILT_IN_SHARE[args.kind] if args.built_in is None else args.built_in,
        fuse=args.kind == "audio" and args.device == "cuda" and not args.plain,
        made=args.made,
        mandarin=args.mandarin,
        strangers=args.strangers,
    )
    studio.measure_pitch(12 if args.device == "cuda" else 1)
    print(
        f"set up in {time.time() - begin:.0f} s, {len(studio.people)} identities, mean F0",
        studio.mean_log_f0[: len(studio.cast.packs)].exp().round().int().tolist(),
        flush=True,
    )
    if args.kind == "prosody":
        prosody(studio, args.out, args.seconds, args.limit)
    else:
        audio(studio, args.out, args.seconds, args.limit, args.frames, args.features.split(","))


if __name__ == "__main__":
    main()

"""Train the language model on tokens from `generate.py prosody`.

    python train_lm.py --pack DIR --data DIR --out DIR --seconds 480 [--resume lm.train.pt]

Starts as soon as the first shard is there and takes in further ones as they come. Samples: single sentences; several of
one identity in a row (the zero-shot layout: prompt text + text, prompt speech + speech, with a corrupted prompt more
often than not, as a recogniser would give it); the bi-stream layout (5 text, 15 speech, fill); instruction prefixes:
tempo as the teacher spoke, pitch and mood by moving the pitch levels of what it said.
Writes llm.pt (official names) and lm.train.pt (to resume).
"""

import argparse
import glob
import multiprocessing
import queue
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import lm
import tokens
from identities import FAST, NORMAL, SLOW
from training import Average, Clock, cosine, save, weights

IGNORE = -100
TEXT_VOCABULARY = 4960
LONGEST_ROW = 1000  # slots, 40 s, of several sentences in a row
START, TASK = TEXT_VOCABULARY + tokens.CODES + 3, TEXT_VOCABULARY + tokens.CODES + 4


class Samples:
    def __init__(self, pack, shards, held_out=800):
        text = torch.load(pack / "text.pt", weights_only=True)
        self.text, self.text_at = text["text"].numpy(), text["text_offsets"].numpy()
        self.later, self.later_at = text["later"].numpy(), text["later_offsets"].numpy()
        self.instructions = text["instructions"]
        data = [torch.load(s, weights_only=True) for s in shards]
        self.codes = np.concatenate([d["tokens"].numpy() for d in data])
        table = np.concatenate([d["table"].numpy() for d in data])
        self.sentence, self.person, self.mode, self.count = table.T
        self.at = np.cumsum(self.count) - self.count
        self.held = [i for i in range(len(table)) if self.sentence[i] < held_out and self.mode[i] == NORMAL]
        self.train = np.flatnonzero(self.sentence >= held_out)
        plain = self.train[self.mode[self.train] == NORMAL]
        self.short = plain[self.count[plain] <= 120]
        self.manner = self.person * (FAST + 1) + self.mode  # who speaks, at which tempo
        order = self.train[np.argsort(self.manner[self.train], kind="stable")]
        split = np.flatnonzero(np.diff(self.manner[order])) + 1
        self.by_manner = {int(self.manner[g[0]]): g for g in np.split(order, split)} if len(order) else {}

    def first(self, i):
        return self.text[self.text_at[self.sentence[i]] : self.text_at[self.sentence[i] + 1]].astype(np.int64)

    def following(self, i):
        return self.later[self.later_at[self.sentence[i]] : self.later_at[self.sentence[i] + 1]].astype(np.int64)

    def speech(self, i):
        return self.codes[self.at[i] : self.at[i] + self.count[i]].astype(np.int64)


def corrupt(codes, share, rng):
    """Replace a share of the codes by what a recogniser might say: another phone, a neighbouring pitch, another
    position."""
    phone, pitch, position = tokens.split(codes)
    kind = np.where(rng.random(len(codes)) < share, rng.integers(0, 4, len(codes)), -1)
    phone = np.where(kind == 0, rng.choice(phone, len(phone)), phone)
    pitch = np.where((kind == 1) | (kind == 2), np.clip(pitch + rng.integers(-1, 2, len(codes)), 0, 8), pitch)
    position = np.where(kind == 3, rng.integers(0, 3, len(codes)), position)
    return tokens.join(phone, pitch, position)


# Instructions about pitch and mood: (range, shift) of the levels of voiced slots around their middle.
MOODS = {"high": (1.0, 2.0), "low": (1.0, -2.0), "cheerful": (1.5, 1.0), "calm": (0.5, -0.5)}
MIDDLE_LEVEL = 4.5


def in_mood(codes, mood):
    """The codes with their melody stretched and moved; unvoiced slots stay, and phones and durations."""
    span, shift = MOODS[mood]
    phone, pitch, position = tokens.split(codes)
    moved = np.clip(np.rint((pitch - MIDDLE_LEVEL) * span + MIDDLE_LEVEL + shift), 1, tokens.PITCHES - 1)
    return tokens.join(phone, np.where(pitch > 0, moved, 0).astype(codes.dtype), position)


def several(data, i, r, rng):
    """Sentences of one identity in a row, some as the prompt, the rest to be spoken -> text, speech, what is heard.

    A prompt may be of several sentences, slow, half a minute long: a model that knew only short ones said the last
    words of a long one again. It is corrupted more often than not, and what is corrupted is no target.
    """
    mates = data.by_manner[int(data.manner[i])]
    prompts = r.choice((1, 1, 1, 2, 2, 3, 4))
    others = prompts - 1 + (1 if r.random() < 0.7 else r.randint(2, 4))
    row = [i] + [int(mates[r.randrange(len(mates))]) for _ in range(others)]
    while len(row) > 1 and data.count[row].sum() > LONGEST_ROW:
        row.pop()
    prompts = min(prompts, len(row) - 1)
    share = r.choice((0.1, 0.2, 0.3)) if r.random() < 0.6 else 0.02
    separate = r.random() < 0.5  # a prompt's text and the text are two texts, and so are the sentences of a list
    texts = [data.first(j) if k == 0 or separate else data.following(j) for k, j in enumerate(row)]
    speech = [data.speech(j) for j in row]
    heard = np.concatenate([corrupt(c, share if k < prompts else 0.02, rng) for k, c in enumerate(speech)])
    target, prompt = np.concatenate(speech), sum(map(len, speech[:prompts]))
    target[:prompt] = np.where(heard[:prompt] == target[:prompt], target[:prompt], IGNORE)
    return np.concatenate(texts), target, heard


def instructed(data, i, text, speech, u, r):
    """-> text and speech, with an instruction where there is one to give; u: random, 0 to 1"""
    if data.mode[i] != NORMAL:
        said = "slow" if data.mode[i] == SLOW else "fast"
    elif u < 0.04:
        said = "none"
    elif u < 0.12:
        said = r.choice(sorted(MOODS))
        speech = in_mood(speech, said)
    else:
        return text, speech
    return np.concatenate([r.choice(data.instructions[said]), text]), speech


def sample(data, r, rng, simple):
    """-> input ids, targets"""
    pool = data.short if simple else data.train
    i, u = int(pool[r.randrange(len(pool))]), r.random()
    if not simple and (0.12 <= u < 0.54 if data.mode[i] == NORMAL else u >= 0.5):
        text, speech, heard = several(data, i, r, rng)
    else:
        text, speech = data.first(i), data.speech(i)
        if not simple:
            text, speech = instructed(data, i, text, speech, u, r)
        heard = corrupt(speech, 0.02, rng)
    heard = heard + TEXT_VOCABULARY
    if not simple and r.random() < 0.2 and len(speech) / len(text) > 3.2:
        return bistream(text, speech, heard)
    ids = np.concatenate([[START], text, [TASK], heard])
    return ids, np.concatenate([np.full(1 + len(text), IGNORE), speech, [lm.END]])


def bistream(text, speech, heard):
    """[start, 5 text, 15 speech, 5 text, ..., rest of the text, task, rest of the speech], fill after each 15."""
    ids, target = [[START]], [[IGNORE]]
    for j in range(len(text) // 5 + 1):
        part, spoken = text[5 * j : 5 * j + 5], slice(15 * j, 15 * j + 15)
        if len(part) == 5:
            ids += [part, heard[spoken]]
            target += [[IGNORE] * 4, speech[spoken], [lm.FILL]]
        else:
            ids += [part, [TASK], heard[15 * j :]]
            target += [[IGNORE] * len(part), speech[15 * j :], [lm.END]]
    return np.concatenate(ids).astype(np.int64), np.concatenate(target).astype(np.int64)


def collate(rows):
    width = -(-max(len(r[0]) for r in rows) // 32) * 32
    ids, target = np.zeros((len(rows), width), np.int32), np.full((len(rows), width), IGNORE, np.int32)
    for row, (x, y) in enumerate(rows):
        ids[row, : len(x)], target[row, : len(y)] = x, y
    return ids, target


def feed(data, out, seed, budget, simple):
    r, rng = random.Random(seed), np.random.default_rng(seed)
    while True:
        rows = sorted((sample(data, r, rng, simple.value) for _ in range(1536)), key=lambda s: len(s[0]))
        batches, first = [], 0
        while first < len(rows):
            last = first + 1
            while last < len(rows) and (last - first + 1) * len(rows[last][0]) <= budget:
                last += 1
            batches.append(rows[first:last])
            first = last
        if len(batches) > 1:
            batches.pop()  # the rest is small
        r.shuffle(batches)
        for batch in batches:
            out.put(collate(batch))


class Feeder:
    """Worker processes that make batches; restarted when new shards have come."""

    def __init__(self, pack, folder, budget, workers):
        self.pack, self.folder, self.budget, self.workers = pack, folder, budget, workers
        self.context = multiprocessing.get_context("fork")
        self.simple = self.context.Value("b", 1, lock=False)
        self.shards, self.processes, self.queue, self.data = [], [], None, None

    def refresh(self):
        shards = sorted(glob.glob(f"{self.folder}/prosody_*.pt"))
        if shards == self.shards:
            return
        self.shards, self.data = shards, Samples(self.pack, shards)
        self.stop()
        self.queue = self.context.Queue(6 * self.workers)
        seed = 1000 * len(shards) + int(time.time())
        self.processes = [
            self.context.Process(
                target=feed, args=(self.data, self.queue, seed + w, self.budget, self.simple), daemon=True
            )
            for w in range(self.workers)
        ]
        for p in self.processes:
            p.start()
        print(
            f"lm data: {len(shards)} shards, {len(self.data.train)} utterances, {self.data.count.sum() / 90000:.0f} h",
            flush=True,
        )

    def stop(self):
        for p in self.processes:
            p.kill()


def losses(model, ids, target, auxiliary=True):
    keep = target != IGNORE
    hidden = model.hidden(ids)[keep]
    wanted = target[keep]
    logits = model.logits(hidden).float()
    loss = F.cross_entropy(logits, wanted)
    spoken = wanted < tokens.CODES
    correct = ((logits.argmax(-1) % tokens.PHONES == wanted % tokens.PHONES) & spoken).sum() / spoken.sum()
    if not auxiliary:
        return loss, correct, loss
    ahead = 0.0
    for k, guess in zip(lm.AHEAD, model.ahead(hidden).float().chunk(len(lm.AHEAD), -1), strict=True):
        future = F.pad(target[:, k:], (0, k), value=IGNORE)[keep]
        future = torch.where((future >= 0) & (future < tokens.CODES), future % tokens.PHONES, IGNORE)
        ahead = ahead + F.cross_entropy(guess, future, ignore_index=IGNORE)
    return loss, correct, ahead


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--budget", type=int, default=32768, help="ids in a batch")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--simple", type=float, default=0.2, help="share of the time with single short sentences only")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    cuda = args.device == "cuda"
    while not glob.glob(f"{args.data}/prosody_*.pt"):
        time.sleep(0.5)
    clock = Clock(args.seconds)
    feeder = Feeder(args.pack, args.data, args.budget, args.workers)
    feeder.refresh()
    model = lm.LanguageModel(TEXT_VOCABULARY).to(args.device)
    if args.resume:
        model.load_state_dict(weights(args.resume))
    average = Average(model, 0.998)
    matrices = [p for n, p in model.named_parameters() if p.dim() > 1 and "residual" not in n and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() > 1 and "residual" not in n and "embed" not in n)]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        args.rate,
        betas=(0.9, 0.97),
        fused=cuda,
    )
    held = [sample_plain(feeder.data, i) for i in feeder.data.held[:600]]
    held = [collate(held[i : i + 100]) for i in range(0, len(held), 100)]

    def put(batch):
        return [torch.from_numpy(x).to(args.device, non_blocking=True).long() for x in batch]

    def finish(note):
        average.swap()
        model.eval()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            scores = np.mean([[float(x) for x in losses(model, *put(b))] for b in held], 0)
        print(
            f"   lm held out ({note}, {clock.elapsed:.0f} s): nll %.3f phone accuracy %.3f ahead %.3f" % tuple(scores),
            flush=True,
        )
        model.train()
        save(model.export(), args.out / "llm.pt")
        save({k: v.detach().half().cpu().clone() for k, v in model.state_dict().items()}, args.out / "lm.train.pt")
        average.swap()

    print(f"lm: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    step = seen = 0
    marked = time.time()
    while clock.running():
        if clock.every("shards", 10):
            feeder.refresh()
        feeder.simple.value = int(clock.elapsed < args.simple * args.seconds)
        try:
            ids, target = put(feeder.queue.get(timeout=60))
        except queue.Empty:
            print("lm: no batch for 60 s", flush=True)
            continue
        for group in optimiser.param_groups:
            group["lr"] = cosine(clock.elapsed, args.seconds, args.rate)
        with torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            loss, correct, ahead = losses(model, ids, target)
        optimiser.zero_grad(set_to_none=True)
        (loss + 0.15 * ahead).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update()
        step, seen = step + 1, seen + ids.numel()
        if step % 200 == 0 or step <= 2:
            print(
                f"lm {step} {clock.elapsed:.0f} s loss {loss:.3f} phone {correct:.3f} ahead {ahead:.3f} "
                f"{seen / 1e6:.0f} M ids "
                f"{(time.time() - marked) / min(step, 200) * 1e3:.0f} ms",
                flush=True,
            )
            marked = time.time()
        if clock.every("save", 100):
            finish(f"step {step}")
    finish("end")
    feeder.stop()
    (args.out / "lm.done").touch()


def sample_plain(data, i):
    text, speech = data.first(i), data.speech(i)
    return (
        np.concatenate([[START], text, [TASK], speech + TEXT_VOCABULARY]),
        np.concatenate([np.full(1 + len(text), IGNORE), speech, [lm.END]]),
    )


if __name__ == "__main__":
    main()

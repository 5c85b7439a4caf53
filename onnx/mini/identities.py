"""Who speaks in the training data: the teacher's voices, and people made from them.

A teacher has some 40 voices, too few to learn from what a voice is. An identity changes one in ways that are
independent of each other: its style moved towards another voice or away from it, and its timbre towards or away from a
third; resampling, which moves formants and F0; F0 moved for itself, so that it does not always follow the formants; and
a colour, a smooth filter as recordings have it. Away as well as towards: among blends only, a flow learns the voices it
was given and clones no others (similarity 0.84 to them, 0.73 to new ones). Built-in voices stay as they are.
"""

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

BUILT_IN = {"英文女": "af_heart", "英文男": "am_michael", "中文女": "zf_xiaoxiao", "中文男": "zm_yunxi"}
RATES = [0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08, 1.12, 1.16]
SEMITONES = 3.5  # by which F0 moves at most
F0_SCALE = (0.72, 1.4)  # what the teacher is asked for, of its own F0
MOVED, COLOURED = 0.85, 0.6  # shares of the identities that are
FARTHEST = (-0.6, 0.7)  # of the way to another voice; further out (1.2) speech breaks up
TIMBRE = 128  # of a style's 256 numbers are the timbre, which the vocoder gets; the others are the manner
TAPS, COLOUR_DB = 255, 4.0
NORMAL, SLOW, FAST = range(3)
PACE = ((0.95, 1.1), (0.82, 0.98))  # of the teacher's own, English and Mandarin: at 1, Mandarin is heard wrong more


@dataclass(frozen=True)
class Identity:
    voice: int
    other: int  # whom it moves towards
    blend: float  # how far; below 0: away, in timbre only
    third: int  # whom the timbre moves towards besides
    tint: float  # how far, or away
    rate: float  # how many times as long the audio is resampled to be
    f0: float  # of the teacher's own F0, before resampling
    colour: int  # seed of its filter, -1: none


def identities(names, count, rng):
    """Every voice as it is, then `count` made from each."""
    made = []
    for voice, name in enumerate(names):
        strangers = [i for i in range(len(names)) if i != voice]
        kin = [i for i in strangers if names[i][1] == name[1]]
        for _ in range(count):
            rate, semitones = rng.choice(RATES), rng.uniform(-SEMITONES, SEMITONES)
            f0 = min(max(rate * 2 ** (semitones / 12), F0_SCALE[0]), F0_SCALE[1])
            blend, tint = (rng.uniform(*FARTHEST) if rng.random() < MOVED else 0.0 for _ in range(2))
            colour = rng.randrange(1 << 30) if rng.random() < COLOURED else -1
            made.append(Identity(voice, rng.choice(kin), blend, rng.choice(strangers), tint, rate, f0, colour))
    return [Identity(i, i, 0.0, i, 0.0, 1.0, 1.0, -1) for i in range(len(names))] + made


def style(people, packs, row):
    """Styles (B, 256) for `people`, tensors of the fields of B identities; packs (voices, rows, 256)."""
    own, towards = packs[people["voice"], row], people["blend"][:, None]
    other, third = packs[people["other"], row] - own, packs[people["third"], row] - own
    moved = own + towards.clamp(min=0) * other
    timbre = own + towards * other + people["tint"][:, None] * third
    return torch.cat([timbre[:, :TIMBRE], moved[:, TIMBRE:]], 1)


class Casting:
    """Who speaks a sentence: the built-in voices often, everyone else in their own language mostly."""

    def __init__(self, names, people, rng, built_in_share):
        self.rng, self.share = rng, built_in_share
        self.built_in = {n: names.index(n) for n in BUILT_IN.values()}
        self.by_language = [
            [p for p, who in enumerate(people) if (names[who.voice][0] == "z") == (language == 1)]
            for language in (0, 1)
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

    def tempo(self, language, instructed=True):
        """-> speed, and which tempo that is; slow and fast only where an instruction can say so"""
        r = self.rng.random() if instructed else 0.0
        if r < 0.9:
            return self.rng.uniform(*PACE[language]), NORMAL
        return (self.rng.uniform(0.62, 0.75), SLOW) if r < 0.95 else (self.rng.uniform(1.35, 1.6), FAST)


def colour_filter(seed):
    """(TAPS,) linear-phase filter with a smooth random gain over log-frequency, 24 kHz; the identity for -1."""
    if seed < 0:
        return F.one_hot(torch.tensor(TAPS // 2), TAPS).float()
    rng, size = random.Random(seed), 512
    place = torch.log2(torch.linspace(0, 12000, size // 2 + 1).clamp(min=60) / 60) / math.log2(200)
    gain = sum(
        rng.gauss(0, COLOUR_DB) / (1 + 0.3 * k) * torch.cos(math.pi * k * place + rng.uniform(0, math.pi))
        for k in range(1, 6)
    )
    response = torch.fft.irfft(10 ** (gain / 20)).roll(TAPS // 2)[:TAPS]
    return response * torch.hann_window(TAPS + 2, periodic=False)[1:-1]


def colour(audio, filters):
    """(B, L) through filters (B, TAPS)"""
    return F.conv1d(audio[None], filters[:, None], padding=TAPS // 2, groups=len(audio))[0]

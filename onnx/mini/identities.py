"""Who speaks in the training data: the teacher's voices, and people made from them.

A teacher has some 40 voices, too few to learn from what a voice is. An identity changes one in ways that are
independent of each other: its style moved towards another voice or away from it, and its timbre towards or away from a
third; resampling, which moves formants and F0; F0 moved for itself, so that it does not always follow the formants; and
a colour, a smooth filter as recordings have it. Away as well as towards: among blends only, a flow learns the voices it
was given and clones no others (similarity 0.84 to them, 0.73 to new ones). With `strangers`, half of the timbres are
drawn from the normal distribution of all voices instead, and most take a step in a random direction, where no mixture
of voices reaches: a fifth to a half of what is a voice's own lies there. Built-in voices stay as they are.
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
DRAWN, STRAYING = 0.5, 0.8  # shares of the strangers whose timbre is drawn, and that stray
STRAY = 1.4  # length of the longest step; voices are 1.1 to 2.0 from their mean, and 0.5 to 1.1 from others' mixtures
TAPS, COLOUR_DB = 255, 4.0
NORMAL, SLOW, FAST = range(3)
PACE = ((0.95, 1.1), (0.82, 0.98))  # of the teacher's own, English and Mandarin: at 1, Mandarin is heard wrong more


@dataclass(frozen=True)
class Identity:
    voice: int  # whose language it speaks
    timbre: tuple[float, ...]  # weight of each voice in it; they add up to 1
    manner: tuple[float, ...]
    rate: float = 1.0  # how many times as long the audio is resampled to be
    f0: float = 1.0  # of the teacher's own F0, before resampling
    colour: int = -1  # seed of its filter, -1: none
    stray: float = 0.0  # length of the timbre's step away from all mixtures
    direction: int = 0  # seed of the step's


def moved(count, voice, *steps):
    """Weights of `voice` moved towards others by (other, share)."""
    weights = [0.0] * count
    weights[voice] = 1.0 - sum(share for _, share in steps)
    for other, share in steps:
        weights[other] += share
    return tuple(weights)


def drawn(count, rng):
    """Weights of a timbre out of the normal distribution that has the mean and the covariance of the voices."""
    normal = [rng.gauss(0, count**-0.5) for _ in range(count)]
    middle = sum(normal) / count
    return tuple(1 / count + w - middle for w in normal)


def identities(names, count, rng, strangers=False):
    """Every voice as it is, then `count` made from each."""
    made, voices = [], len(names)
    for voice, name in enumerate(names):
        others = [i for i in range(voices) if i != voice]
        kin = [i for i in others if names[i][1] == name[1]]
        for _ in range(count):
            rate, semitones = rng.choice(RATES), rng.uniform(-SEMITONES, SEMITONES)
            f0 = min(max(rate * 2 ** (semitones / 12), F0_SCALE[0]), F0_SCALE[1])
            blend, tint = (rng.uniform(*FARTHEST) if rng.random() < MOVED else 0.0 for _ in range(2))
            colour = rng.randrange(1 << 30) if rng.random() < COLOURED else -1
            other, third = rng.choice(kin), rng.choice(others)
            timbre, stray, direction = moved(voices, voice, (other, blend), (third, tint)), 0.0, 0
            if strangers:
                timbre = drawn(voices, rng) if rng.random() < DRAWN else timbre
                stray = rng.uniform(0, STRAY) if rng.random() < STRAYING else 0.0
                direction = rng.randrange(1 << 30)
            manner = moved(voices, voice, (other, max(blend, 0.0)))
            made.append(Identity(voice, timbre, manner, rate, f0, colour, stray, direction))
    return [Identity(i, moved(voices, i), moved(voices, i)) for i in range(voices)] + made


def step(identity):
    """(TIMBRE,) how the timbre strays"""
    if not identity.stray:
        return torch.zeros(TIMBRE)
    generator = torch.Generator().manual_seed(identity.direction)
    return identity.stray * F.normalize(torch.randn(TIMBRE, generator=generator), dim=0)


class Cast:
    """The identities' styles, on a device."""

    def __init__(self, people, packs):
        """packs (voices, rows, 256): the voices' styles by length of the text"""
        self.packs = packs
        self.timbre, self.manner = (
            torch.tensor([getattr(p, name) for p in people], device=packs.device) for name in ("timbre", "manner")
        )
        self.step = torch.stack([step(p) for p in people]).to(packs.device)

    def style(self, who, row):
        """Styles (B, 256) of identities `who` (B,) for texts of length `row` (B,)"""
        voices = self.packs[:, row]
        timbre, manner = (
            torch.einsum("bv,vbd->bd", weights[who], part)
            for weights, part in ((self.timbre, voices[..., :TIMBRE]), (self.manner, voices[..., TIMBRE:]))
        )
        return torch.cat([timbre + self.step[who], manner], 1)


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

import random

import torch

import identities

NAMES = ["af_a", "af_b", "am_c", "am_d", "zf_e", "zf_f"]


def test_voices_come_first_as_they_are():
    people = identities.identities(NAMES, 3, random.Random(0))
    assert len(people) == len(NAMES) * 4
    for i, p in enumerate(people[: len(NAMES)]):
        assert p == identities.Identity(i, i, 0.0, i, 0.0, 1.0, 1.0, -1)


def test_made_identities_stay_within_what_the_teacher_can():
    for p in identities.identities(NAMES, 50, random.Random(1))[len(NAMES) :]:
        assert p.rate in identities.RATES
        assert all(identities.FARTHEST[0] <= far <= identities.FARTHEST[1] for far in (p.blend, p.tint))
        assert identities.F0_SCALE[0] <= p.f0 <= identities.F0_SCALE[1]
        assert NAMES[p.voice][1] == NAMES[p.other][1] and p.voice not in (p.other, p.third)


def test_moving_away_changes_timbre_only():
    packs, row = torch.randn(3, 5, 256), torch.tensor([2])
    fields = {"voice": [0], "other": [1], "third": [2], "blend": [-0.5], "tint": [0.25]}
    style = identities.style({k: torch.tensor(v) for k, v in fields.items()}, packs, row)[0]
    own, other, third = packs[:, 2]
    assert torch.equal(style[128:], own[128:])
    assert torch.allclose(style[:128], (own - 0.5 * (other - own) + 0.25 * (third - own))[:128], atol=1e-6)


def test_no_colour_leaves_audio_alone():
    audio = torch.randn(2, 2000)
    same = identities.colour(audio, identities.colour_filter(-1).repeat(2, 1))
    assert torch.allclose(same, audio, atol=1e-5)


def test_a_colour_is_smooth_and_keeps_time():
    filters = identities.colour_filter(7)[None]
    response = torch.fft.rfft(filters, 2048).abs()[0]
    steps = (response[1:] / response[:-1]).log().abs()
    assert steps.max() < 0.2 and response[20:900].min() > 0.1 and response[20:900].max() < 10
    impulse = torch.zeros(1, 2001)
    impulse[0, 1000] = 1
    assert identities.colour(impulse, filters).abs().argmax() == 1000

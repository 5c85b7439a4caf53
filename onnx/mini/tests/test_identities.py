import random

import torch

import identities

NAMES = ["af_a", "af_b", "am_c", "am_d", "zf_e", "zf_f"]


def voices(people, names=NAMES, rows=5):
    torch.manual_seed(3)
    return identities.Cast(people, torch.randn(len(names), rows, 256))


def test_voices_come_first_as_they_are():
    people = identities.identities(NAMES, 3, random.Random(0), strangers=True)
    assert len(people) == len(NAMES) * 4
    cast = voices(people)
    own = cast.style(torch.arange(len(NAMES)), torch.full((len(NAMES),), 2))
    assert torch.equal(own, cast.packs[:, 2])
    assert all((p.rate, p.f0, p.colour, p.stray) == (1.0, 1.0, -1, 0.0) for p in people[: len(NAMES)])


def test_made_identities_stay_within_what_the_teacher_can():
    for p in identities.identities(NAMES, 50, random.Random(1), strangers=True)[len(NAMES) :]:
        assert p.rate in identities.RATES and 0 <= p.stray <= identities.STRAY
        assert identities.F0_SCALE[0] <= p.f0 <= identities.F0_SCALE[1]
        assert abs(sum(p.timbre) - 1) < 1e-6 and abs(sum(p.manner) - 1) < 1e-6
        assert all(w >= 0 for w in p.manner), "a manner is a blend, never an exaggeration"


def test_moving_away_changes_timbre_only():
    timbre = identities.moved(3, 0, (1, -0.5), (2, 0.25))
    cast = voices([identities.Identity(0, timbre, identities.moved(3, 0))], NAMES[:3])
    style, (own, other, third) = cast.style(torch.tensor([0]), torch.tensor([2]))[0], cast.packs[:, 2]
    assert torch.allclose(style[128:], own[128:])
    assert torch.allclose(style[:128], (own - 0.5 * (other - own) + 0.25 * (third - own))[:128], atol=1e-5)


def test_drawn_timbres_have_the_mean_and_the_spread_of_the_voices():
    rng, packs = random.Random(4), torch.randn(40, 6) * torch.tensor([3, 1, 1, 0.5, 0.2, 0.1]) + 2
    timbres = torch.tensor([identities.drawn(40, rng) for _ in range(4000)]) @ packs
    assert torch.allclose(timbres.mean(0), packs.mean(0), atol=0.15)
    assert torch.allclose(timbres.std(0), packs.std(0, unbiased=False), rtol=0.06)


def test_strangers_stray_where_no_mixture_of_voices_reaches():
    people = identities.identities(NAMES, 20, random.Random(2), strangers=True)
    straying = [i for i, p in enumerate(people) if p.stray]
    assert 0.65 < len(straying) / (20 * len(NAMES)) < 0.95
    cast = voices(people)
    spoken = cast.style(torch.tensor(straying), torch.zeros(len(straying), dtype=torch.long))[:, :128]
    mixed = cast.timbre[straying] @ cast.packs[:, 0, :128]
    lengths = (spoken - mixed).norm(dim=1)
    assert torch.allclose(lengths, torch.tensor([people[i].stray for i in straying]), atol=1e-4)
    axes = torch.linalg.qr(cast.packs[:, 0, :128].t())[0]
    outside = (spoken - spoken @ axes @ axes.t()).norm(dim=1)
    assert (outside > 0.9 * lengths).all()


def test_without_strangers_nobody_strays():
    assert not any(p.stray for p in identities.identities(NAMES, 20, random.Random(2)))


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


def test_the_built_in_voices_speak_as_large_a_share_as_is_asked_for():
    names = [*identities.BUILT_IN.values(), "af_other", "zf_other"]
    people = identities.identities(names, 20, random.Random(0))
    own = set(range(len(identities.BUILT_IN)))

    def share(asked, language):
        casting = identities.Casting(names, people, random.Random(1), asked)
        return sum(casting(language) in own for _ in range(400)) / 400

    assert share(1.0, 0) == share(1.0, 1) == 1.0
    assert share(0.0, 0) < 0.15 and share(0.0, 1) < 0.15, "one identity among many"
    assert 0.4 < share(0.5, 1) < 0.65

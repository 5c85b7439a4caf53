import numpy as np

import align
import tokens

PHONES = "ðə kˈæt, sˈæt."


def certain(classes):
    """Log-probabilities of a recogniser that hears exactly these classes."""
    p = np.full((len(classes), tokens.PHONES), 1e-4)
    p[np.arange(len(classes)), classes] = 1
    return np.log(p / p.sum(1, keepdims=True))


def spoken(gap):
    """The classes of PHONES without gaps, each for two slots, with `gap` slots of silence around and between words."""
    said = [c for c, is_gap in align.groups(PHONES) if not is_gap]
    words, out = (said[:2], said[2:5], said[5:]), [0] * gap
    for word in words:
        out += [c for c in word for _ in range(2)] + [0] * gap
    return np.array(out)


def test_stress_is_part_of_the_vowel_and_punctuation_a_gap():
    groups = align.groups(PHONES)
    assert len([g for g in groups if not g[1]]) == 8
    assert groups[0] == (0, True) and groups[-1][1]
    assert not any(a[1] and b[1] for a, b in zip(groups, groups[1:], strict=False))


def test_what_is_heard_clearly_is_found():
    for gap in (3, 0):
        heard = spoken(gap)
        _, classes, score = align.align(certain(heard), PHONES)
        speech = heard != 0
        assert (classes[speech] == heard[speech]).all()
        assert np.isin(classes[~speech], align.GAPS).all()
        assert score > -0.1


def test_a_text_too_long_for_the_recording_is_refused():
    assert align.align(certain(np.array([5, 6, 7])), PHONES) is None


def test_another_text_scores_worse():
    heard = certain(spoken(3))
    assert align.align(heard, PHONES)[2] > align.align(heard, "bˈOt mˈun.")[2] + 1

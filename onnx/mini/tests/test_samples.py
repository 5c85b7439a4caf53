import random

import numpy as np
import pytest
import torch

import tokens
from train_lm import IGNORE, LONGEST_ROW, Samples, several

PEOPLE, SENTENCES = 3, 60


@pytest.fixture
def data(tmp_path):
    """Sentence s is the text [s, s] (as a later one [s, s, s]); utterance u is its own code, repeated."""
    text, later = torch.arange(SENTENCES).repeat_interleave(2), torch.arange(SENTENCES).repeat_interleave(3)
    offsets = torch.arange(SENTENCES + 1)
    torch.save(
        {
            "text": text,
            "text_offsets": 2 * offsets,
            "later": later,
            "later_offsets": 3 * offsets,
            "instructions": {},
        },
        tmp_path / "text.pt",
    )
    u = torch.arange(SENTENCES)
    counts = 20 + 11 * u
    table = torch.stack([u, u % PEOPLE, (u // PEOPLE) % 2, counts], 1)
    torch.save({"tokens": u.repeat_interleave(counts).to(torch.int16), "table": table}, tmp_path / "prosody_00.pt")
    return Samples(tmp_path, [tmp_path / "prosody_00.pt"], held_out=0)


def test_sentences_in_a_row_are_of_one_voice_and_tempo(data):
    r, rng, prompts = random.Random(0), np.random.default_rng(0), 0
    for _ in range(200):
        text, target, heard = several(data, r.randrange(SENTENCES), r, rng)
        assert len(target) == len(heard) <= max(LONGEST_ROW, int(data.count.max()))
        assert len({(int(data.person[s]), int(data.mode[s])) for s in np.unique(text)}) == 1
        spoken = target[target != IGNORE]
        assert set(spoken) <= set(text), "what is to be said is in the text"
        prompts += (target == IGNORE).sum() > 0
    assert prompts > 100


def test_only_what_is_corrupted_of_a_prompt_is_no_target(data):
    r, rng = random.Random(1), np.random.default_rng(1)
    for _ in range(50):
        i = r.randrange(SENTENCES // 2)
        text, target, heard = several(data, i, r, rng)
        last = target[-int(data.count[text[-1]]) :]
        assert (last == text[-1]).all(), "the last sentence is always a target, whole"
        known = target != IGNORE
        assert (heard[: data.count[i]] == i)[known[: data.count[i]]].all()
        assert tokens.CODES > heard.max() >= 0

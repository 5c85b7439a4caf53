import torch

import tokens


def laid_out(phones, durations, rate=1.0):
    ids = torch.tensor([[0, *tokens.encode(phones), 0]])
    assert ids.shape[1] == len(durations) + 2
    out = tokens.lay_out(ids, torch.tensor([ids.shape[1]]), torch.tensor([[9, *durations, 9]]), torch.tensor([rate]))
    return ids, *out


def test_code_is_a_bijection():
    codes = torch.arange(tokens.CODES)
    assert torch.equal(tokens.join(*tokens.split(codes)), codes)


def test_every_phone_gets_a_slot_and_total_length_stays():
    _, counts, cut, phone, position, frames = laid_out("kæt", [1, 4, 1])
    k, a, t = tokens.encode("kæt")
    kept = slice(int(cut), None)
    assert phone[0, kept].tolist() == [0] * 3 + [k] + [a] * 2 + [t] + [0] * 2
    assert position[0, kept].tolist() == [0, 1, 2, 0, 0, 1, 0, 0, 1]
    assert int(frames.sum()) == round(int(counts) * 1.6)


def test_stress_changes_the_vowel_class_and_takes_no_slot():
    table = tokens.class_table()
    _, _, _, phone, _, frames = laid_out("kˈæt", [1, 2, 4, 1])
    a = tokens.VOCABULARY["æ"]
    assert int(table[1, a]) in phone[0].tolist() and a not in phone[0].tolist()
    assert tokens.VOCABULARY["ˈ"] not in phone[0].tolist()
    assert int(frames[0, 3]) >= 1  # the vowel itself is spoken


def test_short_gap_joins_the_phone_before_it_and_long_gap_stays():
    _, _, _, phone, _, _ = laid_out("t k", [2, 1, 2])
    assert tokens.SPACE not in phone[0].tolist()
    _, _, _, phone, _, _ = laid_out("t k", [2, 8, 2])
    assert phone[0].tolist().count(tokens.SPACE) >= 4


def test_equal_neighbours_stay_apart():
    _, _, _, phone, position, _ = laid_out("dd", [3, 3])
    d = tokens.encode("d")[0]
    assert [int(p) for p, q in zip(position[0], phone[0], strict=True) if q == d].count(0) == 2


def test_padding_does_not_matter():
    ids = torch.tensor([[0, *tokens.encode("kˈæt ɪz"), 0]])
    length, rate = ids.shape[1], torch.tensor([1.1])
    durations = torch.tensor([[9, 2, 1, 5, 2, 1, 3, 4, 9]])
    a = tokens.lay_out(ids, torch.tensor([length]), durations, rate)
    pad = torch.nn.functional.pad
    b = tokens.lay_out(pad(ids, (0, 5)), torch.tensor([length]), pad(durations, (0, 5)), rate)
    for x, y in zip(a[:4], b[:4], strict=True):
        assert torch.equal(x, y)
    assert torch.equal(a[4], b[4][:, :length]) and int(b[4][:, length:].sum()) == 0


def test_pitch_levels():
    f0 = torch.full((1, 32), 200.0)
    f0[:, 16:] = 0
    level = tokens.pitch_levels(f0, 10, torch.tensor([1.0]), torch.tensor([200.0]).log())
    assert level[0, 0] in (4, 5) and level[0, -1] == 0
    assert tokens.pitch_levels(f0 * 2, 10, torch.tensor([1.0]), torch.tensor([200.0]).log())[0, 0] == 8


def test_aspirated_consonant_has_its_own_class():
    _, _, _, phone, _, _ = laid_out("tʰa", [2, 2, 4])
    t, a = tokens.encode("ta")
    kinds = set(phone[0].tolist())
    assert a in kinds and t not in kinds and tokens.VOCABULARY["ʰ"] not in kinds
    assert len(set(tokens.class_table().flatten().tolist())) == tokens.SYMBOLS + 2 * len(tokens.VOWELS)

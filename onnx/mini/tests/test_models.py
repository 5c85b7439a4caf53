import numpy as np
import pytest
import torch

import flow
import lm
import tables
import tokens
import vocoder
from recogniser import Recogniser, Tokenizer
from train_lm import IGNORE, MOODS, TEXT_VOCABULARY, bistream, corrupt, in_mood


def test_code_table_shares_rows():
    table = tables.CodeTable(8, 3, 1.0)
    rows = table.table()
    assert rows.shape == (tokens.CODES + 3, 8)
    a, b, c = (int(tokens.join(p, 4, 1)) for p in (10, 11, 12))
    want = tables.CodeTable.table(table)[a] - table.a[10 * 3 + 1] - table.c[10 * 2 + 1]
    assert torch.allclose(rows[b] - table.a[11 * 3 + 1] - table.c[11 * 2 + 1], want, atol=1e-6)
    assert not torch.allclose(rows[b], rows[c])


@pytest.fixture(scope="module")
def small_flow():
    torch.manual_seed(0)
    return flow.Flow(0.0).eval()


def masks(slots, streaming):
    return [
        flow.chunk_mask(w, c if streaming else 0, "cpu") for w, c in ((slots, flow.CHUNK), (2 * slots, 2 * flow.CHUNK))
    ]


def test_all_ways_to_compute_the_flow_agree(small_flow):
    codes, mel, speaker = torch.randint(0, tokens.CODES, (2, 40)), torch.randn(2, 80, 80), torch.ones(2, 192)
    results = []
    for unfold in (False, True):
        for fused in (False, True):
            flow.KERNELS.update(unfold=unfold, fused=fused)
            torch.manual_seed(1)
            results.append(torch.stack(small_flow(codes, mel, speaker, masks(40, True))))
    flow.KERNELS.update(unfold=False, fused=False)
    for r in results[1:]:
        assert torch.allclose(r, results[0], rtol=1e-4)


def test_chunks_do_not_see_the_future(small_flow):
    codes = torch.randint(0, tokens.CODES, (1, 60))
    changed = codes.clone()
    changed[:, flow.CHUNK + flow.LOOK_AHEAD :] = (changed[:, flow.CHUNK + flow.LOOK_AHEAD :] + 1) % tokens.CODES
    speaker = torch.ones(1, 192)
    with torch.no_grad():
        a, b = (small_flow.condition(c, speaker, masks(60, True))[0] for c in (codes, changed))
    assert torch.allclose(a[:, :, : 2 * flow.CHUNK], b[:, :, : 2 * flow.CHUNK], atol=1e-5)
    assert not torch.allclose(a[:, :, 2 * flow.CHUNK :], b[:, :, 2 * flow.CHUNK :], atol=1e-3)


def test_look_ahead_context_equals_the_whole(small_flow):
    codes, speaker, n = torch.randint(0, tokens.CODES, (1, 50)), torch.ones(1, 192), 25
    with torch.no_grad():
        whole = small_flow.condition(codes, speaker, masks(50, True))[0][:, :, : 2 * n]
        part = small_flow.condition(codes[:, :n], speaker, masks(n, True), codes[:, n : n + flow.LOOK_AHEAD])[0]
    assert torch.allclose(whole, part, atol=1e-4)


def test_the_loudness_of_a_head_is_the_deviation_of_its_scores():
    torch.manual_seed(0)
    attention, norm = flow.EstimatorAttention(32, 2, 16), torch.full((32,), 2.0)
    with torch.no_grad():
        attention.to_q.weight[:16] *= 300
        x = norm * torch.randn(4000, 32)
        scores = (attention.to_q(x) * attention.to_k(x.flip(0))).unflatten(1, (2, 16)).sum(2) / 4
    loud = attention.loudness(norm)
    assert (loud / scores.std(0) - 1).abs().max() < 0.1 and loud[0] > 100 * loud[1]


def test_frames_of_the_prompt_count_less(small_flow, monkeypatch):
    codes, mel, speaker = torch.randint(0, tokens.CODES, (2, 40)), torch.randn(2, 80, 80), torch.ones(2, 192)

    def loss(heard):
        monkeypatch.setattr(flow, "HEARD", heard)
        torch.manual_seed(4)
        with torch.no_grad():
            return float(small_flow(codes, mel, speaker, masks(40, False), prompted=1.0)[0])

    assert loss(1.0) != loss(0.3)


def test_inverse_stft_is_torchs():
    model = vocoder.HiFT()
    real, imaginary = torch.randn(2, 9, 41), torch.randn(2, 9, 41)
    want = torch.istft(torch.complex(real, imaginary), 16, 4, 16, window=model.window)
    assert torch.allclose(model.inverse_stft(real, imaginary), want, atol=1e-5)


def test_tokenizer_gives_one_code_for_four_frames():
    out = Tokenizer(Recogniser().eval())(torch.randn(1, 128, 200), torch.tensor([200], dtype=torch.int32))
    assert out.shape == (1, 50) and out.dtype == torch.int32 and 0 <= int(out.min()) <= int(out.max()) < tokens.CODES


def test_bistream_layout():
    text, speech = np.arange(7), np.arange(100, 140)
    ids, target = bistream(text, speech, speech + TEXT_VOCABULARY)
    assert len(ids) == len(target)
    assert target[:6].tolist() == [IGNORE] * 5 + [100] and target[20] == lm.FILL
    assert target[-1] == lm.END and (target >= 0).sum() == len(speech) + 2


def test_corruption_stays_in_range():
    codes = np.random.default_rng(0).integers(0, tokens.CODES, 500)
    heard = corrupt(codes, 0.3, np.random.default_rng(1))
    assert 0 <= heard.min() and heard.max() < tokens.CODES
    assert 0.05 < (heard != codes).mean() < 0.3


def test_moods_move_the_melody_alone():
    codes = tokens.join(np.array([5, 6, 7]), np.array([0, 4, 7]), np.array([0, 1, 2]))
    levels = {mood: tokens.split(in_mood(codes, mood))[1].tolist() for mood in MOODS}
    assert levels == {"high": [0, 6, 8], "low": [0, 2, 5], "cheerful": [0, 5, 8], "calm": [0, 4, 5]}
    for mood in MOODS:
        phone, _, position = tokens.split(in_mood(codes, mood))
        assert phone.tolist() == [5, 6, 7] and position.tolist() == [0, 1, 2]

import torch

import tokens
from stream import perturb
from training import Clock, Progress, weights


def test_progress_prints_the_means_since_it_last_printed(capsys):
    progress = Progress("part", "loss %.1f right %.2f", 4, Clock(10))
    for loss in (1.0, 3.0, 10.0, 20.0):
        progress.add(torch.tensor([loss, 0.5]))
    lines = capsys.readouterr().out.splitlines()
    assert progress.step == 4
    assert [line.split(" ms")[0].split(" s ")[1][:19] for line in lines] == [
        "loss 2.0 right 0.50",
        "loss 15.0 right 0.5",
    ]


def test_weights_come_back_in_f32(tmp_path):
    torch.save({"a": torch.ones(2, dtype=torch.half)}, tmp_path / "x.pt")
    assert weights(tmp_path / "x.pt")["a"].dtype == torch.float32


def test_slips_are_rare_but_in_what_was_heard():
    torch.manual_seed(0)
    codes = torch.randint(0, tokens.CODES, (400, 100))
    before, after = tokens.split(codes), tokens.split(perturb(codes, share=0.02, often=1.0, most=0.4, longest=0.6))
    phones, pitches = ((a != b).float() for a, b in zip(before[:2], after[:2], strict=True))
    assert torch.equal(before[2], after[2])
    assert 0.05 < phones[:, :10].mean() < 0.12 and 0.001 < phones[:, 60:].mean() < 0.01
    assert pitches[:, :10].mean() > 4 * pitches[:, 60:].mean() > 0

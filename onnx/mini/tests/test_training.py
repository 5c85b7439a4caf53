import torch

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

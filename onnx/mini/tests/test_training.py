import torch

import flow
import tokens
import train_flow
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


def test_biases_and_norms_do_not_decay_and_times_have_a_rate_of_their_own():
    model = flow.Flow()
    names = {id(p): name for name, p in model.named_parameters()}
    adam = {names[id(p)]: group for group in train_flow.groups(model, 0.01, 0.03) for p in group["params"]}
    muon = {name for name, p in model.named_parameters() if train_flow.is_matrix(name, p)}
    assert muon.isdisjoint(adam) and muon | set(adam) == set(names.values())
    assert adam["decoder.estimator.final_proj.bias"]["weight_decay"] == 0
    assert adam["encoder.after_norm.weight"]["weight_decay"] == 0
    assert adam["codes.a"]["weight_decay"] == 0.01
    timed = {name for name, group in adam.items() if group["scale"] != 1}
    assert timed == {n for n in names.values() if "time_mlp" in n or ".mlp." in n}
    assert {"encoder_proj.weight", "decoder.estimator.up_blocks.0.2.weight"} <= muon


def test_times_are_even_over_all_rows_and_over_some():
    torch.manual_seed(0)
    times = flow.spread(84, "cpu")
    assert 0 <= times.min() and times.max() < 1
    for part in (times, times[:63], times[63:]):
        gaps = part.sort().values.diff()
        assert gaps.max() < 2.7 / len(part)
    assert not torch.equal(times, flow.spread(84, "cpu"))


def test_training_asks_for_the_times_of_the_solver_as_long_as_its_steps_last():
    edges = 1 - torch.cos(torch.arange(flow.STEPS + 1) / flow.STEPS * 0.5 * torch.pi)
    times = flow.begin_of_step(torch.linspace(0, 0.99999, 100001))
    steps = (times[:, None] - edges[None, :-1]).abs().argmin(1)
    assert (times - edges[steps]).abs().max() < 1e-6
    shares = torch.bincount(steps, minlength=flow.STEPS) / len(times)
    assert torch.allclose(shares, edges.diff(), atol=1e-3)

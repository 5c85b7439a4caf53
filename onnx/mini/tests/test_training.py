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


def test_every_parameter_is_stepped_by_one_optimiser_and_only_tables_and_matrices_decay():
    model = flow.Flow()
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, (tables, vectors) = train_flow.split(model)
    muon, tables, vectors = ([names[id(p)] for p in part] for part in (matrices, tables["params"], vectors["params"]))
    assert sorted(muon + tables + vectors) == sorted(names.values())
    assert set(tables) == {"codes.a", "codes.b", "codes.c", "codes.residual"}
    assert {"decoder.estimator.final_proj.bias", "encoder.encoders.0.self_attn.pos_bias_u"} <= set(vectors)
    assert {"encoder_proj.weight", "decoder.estimator.up_blocks.0.2.weight"} <= set(muon)
    assert train_flow.split(model)[1][1]["weight_decay"] == 0


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

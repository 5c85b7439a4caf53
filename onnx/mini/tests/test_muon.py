"""Steps of Muon: as long as promised, in all directions alike, and steady where Adam's are not."""

import pytest
import torch

from muon import SIZE, Muon, orthogonal


@pytest.mark.parametrize("shape", [(256, 256), (80, 192), (256, 960)])
def test_singular_values_become_alike(shape):
    torch.manual_seed(0)
    x = torch.randn(3, *shape) + 5 * torch.randn(3, shape[0], 1)  # one of them ten times the others
    values = torch.linalg.svdvals(orthogonal(x))
    assert values.max() < 1.3 and (values > 0.6).float().mean() > 0.9


def test_a_step_is_as_long_as_adam_s_of_the_same_rate_whatever_the_shape_and_the_gradient():
    torch.manual_seed(0)
    shapes = [(64, 64), (32, 128), (128, 32), (32, 16, 3), (32, 16, 1)]
    parameters = [torch.nn.Parameter(torch.randn(s)) for s in (*shapes, *shapes)]
    before = [p.detach().clone() for p in parameters]
    for i, p in enumerate(parameters):
        p.grad = torch.randn_like(p) * 10.0 ** (i - 5)
    Muon(parameters, decay=0.0).step(1e-2)
    for p, was in zip(parameters, before, strict=True):
        step, size = p.detach() - was, SIZE * 1e-2
        assert 0.7 * size < step.square().mean().sqrt() < 1.2 * size
        assert (step * p.grad).sum() < 0


def test_weights_decay_by_the_rate():
    p = torch.nn.Parameter(torch.ones(4, 8))
    p.grad = torch.zeros(4, 8)
    Muon([p], decay=0.5).step(0.1)
    assert torch.allclose(p, torch.full((4, 8), 0.95))


def fitted(with_muon, rate, steps=100):
    """The loss of a linear map learned from inputs with a mean as far from zero as a log-mel's."""
    torch.manual_seed(0)
    x = torch.randn(512, 80) - 5
    y = (x + 5) @ (torch.randn(80, 80) / 9)
    layer = torch.nn.Linear(80, 80)
    torch.nn.init.zeros_(layer.weight)
    matrices = Muon([layer.weight], decay=0.0) if with_muon else None
    rest = [layer.bias] if with_muon else list(layer.parameters())
    adam = torch.optim.AdamW(rest, betas=(0.9, 0.99), weight_decay=0.0)
    for i in range(steps):
        layer.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        adam.param_groups[0]["lr"] = rate * (1 - i / steps)
        adam.step()
        if matrices:
            matrices.step(rate * (1 - i / steps))
    return float(loss.detach())


def test_it_learns_where_the_mean_of_the_inputs_is_far_from_zero():
    adam, muon = (min(fitted(which, rate) for rate in (1e-3, 1e-2, 1e-1)) for which in (False, True))
    assert muon < 0.05 < 0.5 < adam

"""Muon (Jordan et al. 2024, scaled as in arXiv 2502.16982): steps of matrices with all singular values made alike.

A log-mel's numbers have a mean of -4.5 and more, so most of a gradient lies along that mean, where the loss is steep;
Adam's steps do too, in every layer at once. Here the steepest direction gets no larger a step than any other.
"""

import math

import torch

COEFFICIENTS = (3.4445, -4.775, 2.0315)
ROUNDS = 5  # of the Newton-Schulz iteration; singular values come out between 0.7 and 1.2
SIZE = 0.2  # root mean square of a step, of the rate: about AdamW's, so that one rate suits both


def orthogonal(x):
    """(n, rows, columns), rows <= columns -> the same with singular values of about 1"""
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


class Muon:
    """Optimiser of matrices and convolutions (out, in, taps); those of one shape are stepped together."""

    def __init__(self, parameters, momentum=0.95, decay=0.1):
        self.momentum, self.decay, self.shapes = momentum, decay, {}
        for p in parameters:
            self.shapes.setdefault(tuple(p.shape), []).append(p)
        self.averages = {s: torch.zeros(len(p), *s, device=p[0].device) for s, p in self.shapes.items()}

    @torch.no_grad()
    def step(self, rate):
        for shape, parameters in self.shapes.items():
            gradient, average = torch.stack([p.grad for p in parameters]), self.averages[shape]
            average.lerp_(gradient, 1 - self.momentum)
            x = gradient.lerp(average, self.momentum).flatten(2)
            tall = x.shape[1] > x.shape[2]
            x = orthogonal(x.mT) if tall else orthogonal(x)
            x = (x.mT if tall else x).float() * (SIZE * math.sqrt(max(x.shape[1:])))
            torch._foreach_mul_(parameters, 1 - rate * self.decay)
            torch._foreach_add_(parameters, list(x.view(-1, *shape).unbind()), alpha=-rate)

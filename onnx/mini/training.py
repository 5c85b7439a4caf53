"""What all training scripts share: wall-clock schedule, weight average, resumable saving."""

import math
import os
import time
from pathlib import Path

import torch


def cosine(elapsed, total, peak, warm=15.0, floor=0.02):
    """Learning rate by wall-clock seconds: linear warm-up, then a cosine down to floor * peak."""
    if elapsed < warm:
        return peak * max(elapsed / warm, 0.02)
    return peak * (
        floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, (elapsed - warm) / max(total - warm, 1e-3))))
    )


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module, decay=0.999):
        self.module, self.decay, self.steps = module, decay, 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items() if v.is_floating_point()}

    @torch.no_grad()
    def update(self):
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 20.0))
        state = self.module.state_dict()
        torch._foreach_lerp_(list(self.values.values()), [state[k] for k in self.values], 1 - decay)

    @torch.no_grad()
    def swap(self):
        """Exchange the averaged and the raw values; call it twice to get back."""
        state = self.module.state_dict()
        for k, v in self.values.items():
            raw = state[k].clone()
            state[k].copy_(v)
            self.values[k].copy_(raw)


def save(data, path):
    path = Path(path)
    torch.save(data, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def weights(path):
    """A state dict that was saved in either precision, in f32."""
    return {k: v.float() for k, v in torch.load(path, weights_only=True).items()}


def halves(state):
    return {k: v.detach().half().cpu() if v.is_floating_point() else v.cpu() for k, v in state.items()}


class Clock:
    """Counts the seconds of a run and says when it is time for something."""

    def __init__(self, seconds):
        self.start, self.seconds, self.next = time.time(), seconds, {}

    @property
    def elapsed(self):
        return time.time() - self.start

    def running(self):
        return self.elapsed < self.seconds

    def every(self, name, period):
        if self.elapsed >= self.next.setdefault(name, period):
            self.next[name] = self.elapsed + period
            return True
        return False


class Progress:
    """Counts steps and prints the means of what they measure: after two steps, then every `period`."""

    def __init__(self, name, form, period, clock):
        self.name, self.form, self.period, self.clock = name, form, period, clock
        self.step, self.values, self.marked = 0, [], time.time()

    def add(self, values):
        """values: tensor of as many numbers as `form` has places"""
        self.step += 1
        self.values.append(values)
        if self.step % self.period == 0 or self.step == 2:
            means = self.form % tuple(torch.stack(self.values).mean(0).tolist())
            spent = (time.time() - self.marked) / len(self.values) * 1e3
            print(f"{self.name} {self.step} {self.clock.elapsed:.0f} s {means} {spent:.1f} ms", flush=True)
            self.values, self.marked = [], time.time()

"""The flow's fixed noise, rebuilt without PyTorch.

The reference draws `torch.randn(1, 80, 15000)` on the CPU after seeding with 0, once, and every utterance uses its
first frames. PyTorch's CPU generator is MT19937; its normal fill for 16 numbers or more draws one 24-bit uniform per
output and applies Box-Muller to blocks of 16: element j of the first half gives the radius, element j + 8 the angle.
"""

from __future__ import annotations

import numpy as np

REFERENCE_FRAMES = 15000  # 300 s at 50 frames a second; changing it would change every draw after the first row
BLOCK = 16


def torch_randn(seed: int, count: int) -> np.ndarray:
    """`torch.manual_seed(seed); torch.randn(count)` for a `count` that is a multiple of 16, f32, within 2e-6."""
    if count % BLOCK:
        raise ValueError("count must be a multiple of 16")
    draws = np.random.RandomState(seed).randint(0, 2**32, size=count, dtype=np.uint32)
    uniform = (draws & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)
    block = uniform.reshape(-1, BLOCK)
    u1 = np.float32(1) - block[:, : BLOCK // 2]
    u2 = block[:, BLOCK // 2 :]
    radius = np.sqrt(np.float32(-2) * np.log(u1))
    angle = np.float32(2 * np.pi) * u2
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def flow_noise(bins: int, frames: int, seed: int = 0) -> np.ndarray:
    """The first `frames` of the reference's fixed noise, f32 [bins, frames]."""
    full = torch_randn(seed, bins * REFERENCE_FRAMES).reshape(bins, REFERENCE_FRAMES)
    return np.ascontiguousarray(full[:, :frames])

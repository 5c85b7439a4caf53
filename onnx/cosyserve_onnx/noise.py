"""The flow's fixed noise, rebuilt without PyTorch.

The reference draws `torch.randn(1, 80, 15000)` on the CPU after seeding with 0, once, and every utterance uses its
first frames. PyTorch's CPU generator is MT19937; its normal fill for 16 numbers or more draws one 24-bit uniform per
output and applies Box-Muller to blocks of 16: element j of the first half gives the radius, element j + 8 the angle.
"""

from __future__ import annotations

from collections.abc import Mapping

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


class Uniform:
    """`torch.rand` after `torch.manual_seed(seed)` and `skip` draws: one 24-bit number in [0, 1) per 32-bit draw."""

    def __init__(self, seed: int, skip: int):
        self._state = np.random.RandomState(seed)
        self._state.randint(0, 2**32, size=skip, dtype=np.uint32)

    def draw(self, count: int) -> np.ndarray:
        """The next `count` numbers, f32."""
        draws = self._state.randint(0, 2**32, size=count, dtype=np.uint32)
        return (draws & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)


def source_noise_skip(bins: int, flow: Mapping[str, np.ndarray], hift: Mapping[str, np.ndarray], sines: int) -> int:
    """Draws before generation 3's fixed source noise.

    The reference seeds when it makes the flow's fixed noise and next draws first values for the flow's own layers, the
    f0 predictor's, and start phases: one draw a number. They depend on nothing but their count.
    """
    count = bins * REFERENCE_FRAMES
    layers = ["input_embedding", "spk_embed_affine_layer"]
    count += sum(v.size for k, v in flow.items() if k.rsplit(".", 1)[0] in layers)
    if flow["input_embedding.weight"].size % BLOCK:
        count += BLOCK  # torch draws the last block of normal numbers again
    # Weight norm's magnitudes are not drawn.
    magnitudes = ("original0", "weight_g")
    count += sum(v.size for k, v in hift.items() if k.startswith("f0_predictor.") and not k.endswith(magnitudes))
    return count + sines

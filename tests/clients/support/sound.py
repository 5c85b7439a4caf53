"""Audio of any format as samples, and samples as a WAV file."""

from __future__ import annotations

import io
import wave

import av
import numpy as np

EAR_RATE = 16_000
"""Samples per second that speech recognition hears."""


def samples(audio: bytes, rate: int | None = None) -> np.ndarray:
    """Mono samples at `EAR_RATE`, -1 to 1, of an audio file; with a rate, of raw little-endian 16-bit samples."""
    if rate is not None:
        audio = wav(audio, rate)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=EAR_RATE)
    parts = []
    with av.open(io.BytesIO(audio)) as file:
        for frame in file.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def seconds(audio: bytes, rate: int | None = None) -> float:
    """How long it is."""
    return len(samples(audio, rate)) / EAR_RATE


def rate_of(audio: bytes) -> int:
    """Samples per second of an audio file."""
    with av.open(io.BytesIO(audio)) as file:
        return file.streams.audio[0].rate


def wav(pcm: bytes, rate: int) -> bytes:
    """A WAV file of little-endian 16-bit mono samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()


def pcm_at(audio: bytes, rate: int) -> bytes:
    """An audio file as little-endian 16-bit mono samples at this rate."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    out = b""
    with av.open(io.BytesIO(audio)) as file:
        for frame in [*file.decode(audio=0), None]:
            out += b"".join(part.to_ndarray().astype("<i2").tobytes() for part in resampler.resample(frame))
    return out

"""Fine-tune the vocoder adversarially on the audio stream of `generate.py audio`, and on recordings of people.

    python train_vocoder.py --data D [--people DP] --out O --init hift.pt --seconds 700

Least-squares adversarial, feature matching, multi-resolution mel and F0 losses on slices of 0.8 s. One step of both
players is captured as a CUDA graph (the models are small, launching their kernels costs more than running them). The
generator sees the teacher's F0 half of the time and its own otherwise, and mels with a little noise, as the flow's are
not perfect. Recordings of people end at 8 kHz: what the generator says above is not judged there. Writes hift.pt
(official names).
"""

import argparse
import math
from pathlib import Path

import torch

from discriminators import Discriminators
from stream import Mixture
from training import Average, Clock, Progress, cosine, halves, save, weights
from vocoder import HiFT


def mel_banks(n_fft, bins, rate=24000):
    """Triangular filters on the HTK mel scale, (bins, n_fft / 2 + 1)."""
    edges = torch.linspace(0, 2595 * math.log10(1 + rate / 1400), bins + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)
    f = torch.linspace(0, rate / 2, n_fft // 2 + 1)[None]
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bank = torch.minimum((f - left) / (centre - left), (right - f) / (right - centre)).clamp(min=0)
    return bank / bank.sum(1, keepdim=True).clamp(min=1e-6)


class SpectralLoss(torch.nn.Module):
    """L1 of log-mels at four resolutions, and of the log-magnitudes."""

    def __init__(self, sizes=((256, 20), (512, 40), (1024, 80), (2048, 128))):
        super().__init__()
        self.sizes = sizes
        for n, bins in sizes:
            self.register_buffer(f"bank{n}", mel_banks(n, bins))
            self.register_buffer(f"window{n}", torch.hann_window(n))

    def forward(self, a, b):
        mel = magnitude = 0.0
        for n, _ in self.sizes:
            window, bank = getattr(self, f"window{n}"), getattr(self, f"bank{n}")
            x, y = (torch.stft(w, n, n // 4, n, window=window, return_complex=True) for w in (a, b))
            x, y = (torch.sqrt(s.real.square() + s.imag.square() + 1e-9) for s in (x, y))
            mel = mel + (torch.log(bank @ x + 1e-4) - torch.log(bank @ y + 1e-4)).abs().mean()
            magnitude = magnitude + (torch.log(x + 1e-3) - torch.log(y + 1e-3)).abs().mean()
        return mel / len(self.sizes), magnitude / len(self.sizes)


def low_pass(cutoff=7600, rate=24000, taps=255):
    """A windowed sinc, (1, 1, taps)"""
    t = torch.arange(taps) - taps // 2
    kernel = torch.special.sinc(2 * cutoff / rate * t) * torch.hann_window(taps + 2, periodic=False)[1:-1]
    return (kernel / kernel.sum())[None, None]


class Game:
    """Losses and gradients of one step of both players, on static inputs; the last `narrow` rows end at 8 kHz."""

    def __init__(self, generator, judge, rows, narrow, slots, device):
        self.generator, self.judge, self.cuda = generator, judge, device == "cuda"
        self.wide, self.filter = rows - narrow, low_pass().to(device)
        self.spectral = SpectralLoss().to(device)
        self.mel = torch.zeros(rows, 80, 2 * slots, device=device)
        self.audio = torch.zeros(rows, 960 * slots, device=device)
        self.f0 = torch.zeros(rows, 2 * slots, device=device)
        self.weight = torch.zeros((), device=device)  # of the adversarial losses
        self.players = [list(generator.parameters()), list(judge.parameters())]
        self.graph = None

    def narrowed(self, audio):
        if self.wide == len(audio):
            return audio
        low = torch.nn.functional.conv1d(audio[self.wide :, None], self.filter, padding=self.filter.shape[2] // 2)
        return torch.cat([audio[: self.wide], low[:, 0]])

    def clear(self):
        for p in self.players[0] + self.players[1]:
            p.grad = None

    def run(self):
        g, rows = self.generator, len(self.mel)
        device = self.mel.device
        f0 = g.f0_predictor(self.mel)
        f0_loss = (f0 - self.f0).abs().mean()
        own = torch.rand(rows, 1, device=device) < 0.5
        source = g.m_source(torch.where(own, f0.detach(), self.f0))
        blur = 0.15 * torch.rand(rows, 1, 1, device=device) * (torch.rand(rows, 1, 1, device=device) < 0.4)
        fake = self.narrowed(g.decode(self.mel + blur * torch.randn_like(self.mel), source))
        with torch.autocast("cuda", torch.bfloat16, enabled=self.cuda, cache_enabled=False):
            real_scores, real_features = self.judge(self.audio)
            fake_scores, _ = self.judge(fake.detach())
        judge_loss = sum(
            ((1 - r.float()) ** 2).mean() + (f.float() ** 2).mean()
            for r, f in zip(real_scores, fake_scores, strict=True)
        )
        judge_loss.backward()
        for p in self.players[1]:
            p.requires_grad_(False)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.cuda, cache_enabled=False):
            scores, features = self.judge(fake)
        adversarial = sum(((1 - s.float()) ** 2).mean() for s in scores)
        matching = sum(
            (a.float() - b.float().detach()).abs().mean()
            for x, y in zip(features, real_features, strict=True)
            for a, b in zip(x, y, strict=True)
        )
        mel, magnitude = self.spectral(fake, self.audio)
        (self.weight * (adversarial + 2 * matching) + 30 * mel + 2 * magnitude + f0_loss / 20).backward()
        for p in self.players[1]:
            p.requires_grad_(True)
        return torch.stack([mel, magnitude, f0_loss, adversarial, matching, judge_loss]).detach()

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self.clear()
                self.run()
        torch.cuda.current_stream().wait_stream(side)
        self.clear()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.run()

    def __call__(self, mel, audio, f0):
        self.mel.copy_(mel)
        self.audio.copy_(audio)
        self.f0.copy_(f0)
        if self.graph is None:
            self.clear()
            return self.run()
        self.graph.replay()  # writes the same gradient tensors each time
        return self.result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--people-share", type=float, default=0.25)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="generator to start from (official names)")
    parser.add_argument("--seconds", type=float, default=700)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    clock, cuda = Clock(args.seconds), args.device == "cuda"
    data = Mixture.load([args.data], args.people, args.people_share, ["mel", "audio", "f0"], args.device)
    narrow = args.rows - data.rows(args.rows)[0]
    generator, judge = HiFT().to(args.device), Discriminators().to(args.device)
    if args.init:
        generator.load_state_dict(weights(args.init))
    game = Game(generator, judge, args.rows, narrow, args.slots, args.device)

    def draw():
        mel, audio, f0 = data.draw(["mel", "audio", "f0"], args.rows, args.slots, at_sentence=0.1)
        audio = game.narrowed(audio.flatten(1).float() / 32767)
        return mel.float().transpose(1, 2), audio, f0.flatten(1).float()

    for buffer, value in zip((game.mel, game.audio, game.f0), draw(), strict=True):
        buffer.copy_(value)
    if cuda:
        try:
            game.capture()
            print(f"vocoder: graph captured at {clock.elapsed:.0f} s", flush=True)
        except Exception as error:
            print("vocoder: no graph,", repr(error)[:300], flush=True)
            game.graph = None
            for p in game.players[1]:
                p.requires_grad_(True)
    average = Average(generator)
    optimisers = [torch.optim.AdamW(p, args.rate, betas=(0.8, 0.99), weight_decay=0, fused=cuda) for p in game.players]
    print(
        "vocoder and judges, millions of parameters:",
        [round(sum(p.numel() for p in player) / 1e6, 2) for player in game.players],
        flush=True,
    )

    def write():
        average.swap()
        save(halves(generator.state_dict()), args.out / "hift.pt")
        average.swap()

    form = "mel %.4f magnitude %.4f f0 %.2f adversarial %.3f matching %.3f judge %.3f"
    progress = Progress("vocoder", form, 500, clock)
    while clock.running():
        rate = cosine(clock.elapsed, args.seconds, args.rate, floor=0.05)
        game.weight.fill_(min(1.0, max(0.0, (progress.step - 300) / 1000)))
        result = game(*draw())
        for optimiser, parameters, limit in zip(optimisers, game.players, (10.0, 10.0), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate
            torch.nn.utils.clip_grad_norm_(parameters, limit)
            optimiser.step()
        average.update()
        progress.add(result.clone())  # a graph writes the same tensor each time
        if clock.every("save", 100):
            write()
    write()
    print(f"vocoder done: {progress.step} steps in {clock.elapsed:.0f} s", flush=True)
    (args.out / "vocoder.done").touch()


if __name__ == "__main__":
    main()

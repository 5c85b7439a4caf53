"""Train the flow on the audio stream of `generate.py audio`, and on recordings of people.

    python train_flow.py --data D [--people DP] --out O --seconds 420 [--resume flow.train.pt]
    python train_flow.py --warm [--only 0]      # only compile, into the compiler's cache, while the data are made

Rows are slices of 7.2 or 11.2 s, full and chunk-wise attention alternate at random, the first 0 to 60% of the mel is
given as a prompt nine times of ten, 15% of the rows drop all conditions (classifier-free guidance), and codes are
perturbed a little. Times are those that the solver asks for. Shapes are fixed, so that forward and backward passes
replay as CUDA graphs. Muon steps the matrices, AdamW the rest. Writes flow.pt (official names) and flow.train.pt (to
resume).
"""

import argparse
import functools
import time
from pathlib import Path

import torch

import flow
from muon import Muon
from stream import Mixture, perturb
from training import Average, Clock, Progress, cosine, save, weights

SHAPES = ((180, 84, 0.75), (280, 54, 0.25))  # codes, rows, share; no longer than most people's recordings
NORMS = 16  # passes over which gradients of two kernels are compared: each draws its own noise
PRIOR = 0.1  # weight of the prior in the loss
# Weight of what the residual blocks add for the time, squared: without it that grew to hundreds of times what they had
# to add it to, towards the last step, and hid it.
TIMES = 1e-5
PEOPLE = 0.25  # share of the rows that are recordings of people


@functools.cache
def compiled(model):
    return torch.compile(model, dynamic=False)


class Step:
    """Forward and backward for one shape, captured as a CUDA graph if that works."""

    def __init__(self, model, slots, rows, device):
        self.model, self.slots, self.rows = model, slots, rows
        self.cuda = device == "cuda"
        self.codes = torch.zeros(rows, slots, dtype=torch.long, device=device)
        self.mel = torch.zeros(rows, 2 * slots, 80, device=device)
        self.speaker = torch.ones(rows, 192, device=device)
        full = [flow.chunk_mask(w, 0, device) for w in (slots, 2 * slots)]
        self.kinds = [
            full,
            [flow.chunk_mask(w, c, device) for w, c in ((slots, flow.CHUNK), (2 * slots, 2 * flow.CHUNK))],
        ]
        self.masks = [m.clone() for m in full]
        self.parameters = list(model.parameters())
        self.graph = None

    def run(self):
        with torch.autocast("cuda", torch.bfloat16, enabled=self.cuda, cache_enabled=False):
            forward = compiled(self.model) if flow.KERNELS["compiled"] else self.model
            loss, prior, size = forward(self.codes, self.mel, self.speaker, self.masks)
        (loss + PRIOR * prior + TIMES * size).backward()
        return loss.detach(), prior.detach(), size.detach()

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                for p in self.parameters:
                    p.grad = None
                self.run()
        torch.cuda.current_stream().wait_stream(side)
        for p in self.parameters:
            p.grad = None
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.run()
        self.gradients = [p.grad for p in self.parameters]

    def norm(self):
        """Of the gradients of one more pass."""
        self.graph.replay()
        return float(torch.stack([g.float().norm() for g in self.gradients]).norm())

    def __call__(self, codes, mel, speaker, streaming):
        self.codes.copy_(codes)
        self.mel.copy_(mel)
        self.speaker.copy_(speaker)
        for mask, value in zip(self.masks, self.kinds[int(streaming)], strict=True):
            mask.copy_(value)
        if self.graph is None:
            for p in self.parameters:
                p.grad = None
            return self.run()
        self.graph.replay()
        for p, g in zip(self.parameters, self.gradients, strict=True):
            p.grad = g
        return self.result


def split(model):
    """What Muon steps, the matrices, and the groups of what AdamW does: tables of codes, biases and norms, which do not
    decay, since some hold a log-mel's mean of -4.5."""
    matrices, tables, vectors = [], [], []
    for name, p in model.named_parameters():
        kind = tables if name.startswith("codes.") else matrices
        (vectors if p.dim() == 1 or "pos_bias" in name else kind).append(p)
    return matrices, [{"params": tables, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]


def choose_kernels(model, device):
    """Time one step with each way of computing convolutions and attention, keep the fastest."""
    times, norms = {}, {}
    for kernels in ((False, False, False), (False, True, False), (True, True, False), (True, True, True)):
        flow.KERNELS.update(zip(("unfold", "fused", "compiled"), kernels, strict=True))
        step = Step(model, *SHAPES[0][:2], device)
        try:
            step.capture()
            torch.cuda.synchronize()
            begin = time.time()
            for _ in range(8):
                step.graph.replay()
            torch.cuda.synchronize()
            times[kernels] = (time.time() - begin) / 8
            norms[kernels] = sum(step.norm() for _ in range(NORMS)) / NORMS
        except Exception as error:
            print("flow: kernels", kernels, repr(error)[:300], flush=True)
            torch.cuda.synchronize()
        for p in step.parameters:
            p.grad = None
        del step
    print("flow: seconds a step by (unfold, fused, compiled)", times, "gradients", norms, flush=True)
    plain = next(iter(norms.values()))
    right = {k: t for k, t in times.items() if 0.7 < norms[k] / plain < 1.4}  # whatever a compiler made of it
    flow.KERNELS.update(zip(("unfold", "fused", "compiled"), min(right, key=right.get), strict=True))


def warm(model, device, shapes):
    """Compile for the compiler's cache."""
    flow.KERNELS.update(unfold=True, fused=True, compiled=True)
    for slots, rows, _ in shapes:
        begin = time.time()
        Step(model, slots, rows, device).run()
        print(f"flow: compiled {slots} x {rows} in {time.time() - begin:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", help="one set or several, as much of each")
    parser.add_argument("--people", type=Path)
    parser.add_argument("--people-share", type=float, default=PEOPLE)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--only", type=int, help="with --warm: this one of the shapes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--rate", type=float, default=3e-3, help="1e-3 was AdamW's")
    parser.add_argument("--resume", type=Path, help="flow.train.pt to go on from")
    parser.add_argument("--seed", type=int, default=0, help="of batches and noise; new weights are always the same")
    parser.add_argument("--tiny", action="store_true", help="small batches, to try the script on a CPU")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    # What is not bf16 wants to be exact.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    clock, cuda = Clock(args.seconds), args.device == "cuda"
    model = flow.Flow().to(args.device)
    if args.warm:
        warm(model, args.device, SHAPES if args.only is None else [SHAPES[args.only]])
        return
    args.out.mkdir(parents=True, exist_ok=True)
    data = Mixture.load(args.data, args.people, args.people_share, ["tokens", "mel"], args.device)
    average_mel = data.streams[0].data["mel"][::101].float().mean(0)
    with torch.no_grad():  # log-mels are far from zero: start at their mean
        model.encoder_proj.bias.copy_(average_mel)
        model.decoder["estimator"].final_proj.bias.copy_(average_mel)
    if args.resume:
        model.load_state_dict(weights(args.resume))
    torch.manual_seed(args.seed)
    average = Average(model)
    matrices, rest = split(model)
    muon, adam = Muon(matrices), torch.optim.AdamW(rest, args.rate, betas=(0.9, 0.99), fused=cuda)
    shapes = ((40, 2, 0.8), (60, 1, 0.2)) if args.tiny else SHAPES
    steps = [Step(model, slots, rows, args.device) for slots, rows, _ in shapes]
    if cuda:
        try:
            choose_kernels(model, args.device)
            for s in steps:
                s.capture()
            print(f"flow: graphs captured at {clock.elapsed:.0f} s", flush=True)
        except Exception as error:
            print("flow: no graphs,", repr(error)[:300], flush=True)
            torch.cuda.synchronize()
            for s in steps:
                s.graph = None

    def write():
        blocks = model.decoder["estimator"].transformers()
        loudest = max(float(b.attn1.loudness(b.norm1.weight).max()) for b in blocks)
        print(f"flow: loudest head {loudest:.1f}", flush=True)
        average.swap()
        save(model.export(), args.out / "flow.pt")
        save({k: v.detach().half().cpu().clone() for k, v in model.state_dict().items()}, args.out / "flow.train.pt")
        average.swap()

    print(
        f"flow: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
        f"{[len(s.table) for s in data.streams]} utterances",
        flush=True,
    )
    progress = Progress("flow", "loss %.4f prior %.4f times %.1f gradient %.3f", 500, clock)
    choice = torch.Generator().manual_seed(1 + args.seed)
    begin = clock.elapsed
    while clock.running():
        shape = int(torch.rand(1, generator=choice) >= shapes[0][2])
        slots, rows, _ = shapes[shape]
        codes, mel, speakers = data.draw(["tokens", "mel"], rows, slots, speakers=True)
        rate = cosine(clock.elapsed - begin, args.seconds - begin, args.rate)
        for group in adam.param_groups:
            group["lr"] = rate
        losses = steps[shape](perturb(codes.long()), mel.float(), speakers, bool(torch.rand(1, generator=choice) < 0.5))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        muon.step(rate)
        average.update()
        progress.add(torch.stack([*losses, norm]))
        if clock.every("save", 100):
            write()
    write()
    print(f"flow done: {progress.step} steps in {clock.elapsed:.0f} s", flush=True)
    (args.out / "flow.done").touch()


if __name__ == "__main__":
    main()

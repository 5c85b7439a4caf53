"""Command line: export, random, check, stress, inspect."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .errors import ExportError
from .export import PRECISIONS, Options, export, write
from .gen1.export import MODES as VARIANTS
from .generations import GENERATIONS, module
from .random_model import BUNDLED, random_checkpoint
from .solver import EULER_STEPS

_SIZES = {g: list(module(g, "random_model").SIZES) for g in GENERATIONS}  # the first is the generation's default


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cosyserve_onnx", description="CosyVoice checkpoints to cosyserve bundles")
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("export", help="turn an official checkpoint directory into a bundle")
    make.add_argument("checkpoint", type=Path)
    make.add_argument("bundle", type=Path)
    make.add_argument("--name", help="model name to show (default: the checkpoint's directory name)")
    make.add_argument("--licence", default="Apache-2.0", help="licence of the weights (default: %(default)s)")
    make.add_argument(
        "--vocabulary", type=Path, metavar="FILE", help="CosyVoice 1: the text tokens (*.tiktoken), see README.md"
    )
    make.add_argument(
        "--variant", choices=VARIANTS, help="CosyVoice 1: which one it is (default: by the directory's name)"
    )
    random = commands.add_parser("random", help="make a bundle with random weights, to measure speed and memory")
    random.add_argument("bundle", type=Path)
    random.add_argument("--generation", type=int, choices=GENERATIONS, default=2, help="of CosyVoice (default: 2)")
    sizes = "; ".join(f"generation {g}: {', '.join(names)}" for g, names in _SIZES.items())
    random.add_argument("--size", help=f"shape of the model (default: the first of its generation; {sizes})")
    random.add_argument("--seed", type=int, default=0, help="other seeds, other weights (default: %(default)s)")
    random.add_argument(
        "--lender",
        type=Path,
        default=BUNDLED,
        metavar="BUNDLE",
        help="whose tokenizer, speaker encoder and speech tokenizer to copy (default: the bundled voice)",
    )
    for command in (make, random):
        command.add_argument("--precision", choices=PRECISIONS, default="fp32", help="CPU: int8, int4; GPU: fp16")
        command.add_argument(
            "--noise-seconds", type=int, default=300, help="longest speech, prompt included (default: %(default)s)"
        )
        command.add_argument(
            "--left-context-chunks", type=int, metavar="N",
            help="attention chunks (1 s each) a streamed chunk sees before its own, unless the server says otherwise "
            "(default: all)",
        )  # fmt: skip
        command.add_argument(
            "--flow-steps", type=int, default=EULER_STEPS, metavar="N",
            help="Euler steps of the flow; fewer are faster, and not what the reference makes (default: %(default)s)",
        )  # fmt: skip
    test = commands.add_parser("check", help="compare a bundle's stages with the reference's numbers")
    test.add_argument("bundle", type=Path)
    test.add_argument("goldens", type=Path)
    press = commands.add_parser("stress", help="run a bundle's flow on random prompts: is every mel finite?")
    press.add_argument("bundle", type=Path)
    press.add_argument("--prompts", type=int, default=1000, help="(default: %(default)s)")
    press.add_argument("--seed", type=int, default=0, help="of the prompts (default: %(default)s)")
    for command in (test, press):
        command.add_argument("--cuda", action="store_true", help="run on a GPU (needs onnxruntime-gpu)")
    show = commands.add_parser("inspect", help="describe a bundle and verify its hashes")
    show.add_argument("bundle", type=Path)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 for success, 1 for failure."""
    args = _parser().parse_args(arguments)
    try:
        if args.command == "export":
            options = Options(
                args.precision, args.name, args.licence, args.noise_seconds, args.left_context_chunks,
                args.flow_steps, args.vocabulary, args.variant, log=print,
            )  # fmt: skip
            export(args.checkpoint, args.bundle, options)
            return 0
        if args.command == "random":
            options = Options(
                args.precision,
                licence="none",
                noise_seconds=args.noise_seconds,
                left_chunks=args.left_context_chunks,
                flow_steps=args.flow_steps,
                log=print,
            )
            size = args.size or _SIZES[args.generation][0]
            write(random_checkpoint(size, args.seed, args.lender, args.generation), args.bundle, options)
            return 0
        if args.command in ("check", "stress"):
            from .check import check
            from .drive import use_cuda
            from .stress import stress

            if args.cuda:
                use_cuda()
            if args.command == "stress":
                return 0 if stress(args.bundle, args.prompts, args.seed, print) else 1
            return 0 if check(args.bundle, args.goldens, print) else 1
        from .inspect import inspect

        return 0 if inspect(args.bundle, print) else 1
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

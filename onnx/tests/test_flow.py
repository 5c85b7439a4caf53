"""The flow made whole and chunk after chunk: what `check` compares, and that its comparisons would notice."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from cosyserve_onnx import drive, drive_flow, graph
from cosyserve_onnx.check import Checker
from cosyserve_onnx.check_flow import FlowChecks
from cosyserve_onnx.errors import ExportError
from cosyserve_onnx.paging import Arenas, column


def checks(bundles: dict[str, Path], goldens: Path, precision: str) -> FlowChecks:
    checker = Checker(bundles[precision], goldens)
    files = (np.load(goldens / f"tiny/{name}_{checker.generation}.npz") for name in ("flow", "stream"))
    return FlowChecks(bundles[precision], checker.manifest, *files, checker.limits, 2)


@pytest.fixture(scope="module")
def fp32(bundles: dict[str, Path], goldens: Path) -> FlowChecks:
    return checks(bundles, goldens, "fp32")


def test_every_case_is_checked(fp32: FlowChecks) -> None:
    cases = {line.case for line in fp32.lines() if line.stage.startswith("flow")}
    whole = {"final0_stream0", "final0_stream1", "final1_stream0", "final1_stream1", "noprompt_final1_stream0"}
    streamed = {"final0_stream1", "final1_stream1", "stream/chunk0", "stream/chunk1"}
    assert whole | {f"{case} by chunks" for case in streamed} <= cases
    assert {"1 chunks a run", "3 chunks a run", "batch of three histories", "left context 1"} <= cases


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("what", ["keys and values", "tails", "another page"])
def test_lost_history_is_noticed(bundles: dict[str, Path], goldens: Path, precision: str, what: str) -> None:
    lose_history(bundles, goldens, precision, what)


def lose_history(bundles: dict[str, Path], goldens: Path, precision: str, what: str) -> None:
    """Zeros in one page, or a page of other tokens, move the mel past the tolerance of `check`."""
    flow = checks(bundles, goldens, precision)
    whole = flow._whole(final=True, streaming=True)
    utterance, pages = flow._utterance(), flow.pages(5)
    start = 3 * flow.chunk
    flow.model.stream(utterance, flow.tokens[0, : start + 3], pages[:3], final=False)
    for paged in (flow.model.encoder, flow.model.estimator):
        for name, arena in paged.arenas.items():
            values = arena.numpy()
            one = values.shape[0] // page_count(flow)
            if what == "another page":
                values[pages[2] * one : (pages[2] + 1) * one] = values[pages[0] * one : (pages[0] + 1) * one]
            elif (what == "tails") == name.endswith("tails"):
                values[pages[2] * one : (pages[2] + 1) * one] = 0
            arena.update_inplace(values)
    rest = flow.model.advance([drive_flow.Piece(utterance, flow.tokens[0, start:], flow.tokens[0, :0], pages[3:])])[0]
    mine = whole[:, start * 2 - len(utterance.prompt) :]
    assert np.abs(rest - mine).max() > flow.limits["pages"]


def page_count(flow: FlowChecks) -> int:
    return next(iter(flow.model.encoder.arenas.values())).shape()[0]  # the first arena is the encoder's tails


def test_full_pages_only_can_be_continued(fp32: FlowChecks) -> None:
    utterance = fp32._utterance()
    piece = drive_flow.Piece(utterance, fp32.tokens[0, :7], fp32.tokens[0, :0], fp32.pages(1))
    fp32.model.advance([piece])
    with pytest.raises(ExportError, match="not full"):
        fp32.model.advance([piece])


def test_rows_of_whole_runs_are_independent(fp32: FlowChecks) -> None:
    """Two different utterances of one length in one batch give what each gives alone."""
    rng = np.random.default_rng(2)
    tokens, embedding = rng.integers(0, 6561, (2, 11)), rng.standard_normal((2, 192))
    both = fp32.model.encode(tokens, embedding, final=False, streaming=True)
    for row in range(2):
        alone = fp32.model.encode(tokens[row : row + 1], embedding[row : row + 1], final=False, streaming=True)
        for ours, theirs in zip(both, alone, strict=True):
            np.testing.assert_allclose(ours[row], theirs[0], atol=1e-5)


def test_padding_after_the_end_is_not_seen(fp32: FlowChecks) -> None:
    """Tokens and frames past `valid` change nothing before them."""
    tokens = np.concatenate([fp32.tokens[0, :30], np.full(9, -1)])[None]
    embedding = fp32.case["embedding"]
    short = fp32.model.encode(tokens[:, :30], embedding, final=True, streaming=False)[0]
    feed = {"token": tokens, "ahead": tokens[:, :0], "embedding": embedding}
    paging = drive_flow._whole(1, 39, fp32.chunk, 1, False, drive_flow.FULL) | {"valid": np.array([30])}
    padded = fp32.model.encoder.run(["mu"], feed | paging)[0]
    np.testing.assert_allclose(padded[:, :, :60], short, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_page_zero_stays_zero(bundles: dict[str, Path], goldens: Path, precision: str) -> None:
    flow = checks(bundles, goldens, precision)
    list(flow.lines())
    rows = drive_flow.page_rows(drive.read_manifest(bundles[precision]))
    for name in ("encoder", "estimator"):
        for cache in drive.read_manifest(bundles[precision])["flow"]["caches"][name]:
            arena = getattr(flow.model, name).arenas[cache["name"]].numpy()
            count = rows[name][cache["kind"]]
            assert not arena[:count].any() and arena[count:].any()


@pytest.mark.parametrize("cache", [graph.F32, graph.F16])
def test_arenas_are_written_in_place(tmp_path: Path, cache: int) -> None:
    """Nothing copies an arena: a run takes as long with a gigabyte as with a megabyte."""
    g = graph.Graph("arena", graph.Numbers(cache=cache))
    arenas = Arenas(g)
    rows, value = g.input("rows", graph.I64, ["N"]), g.input("value", graph.F32, ["N", 64])
    arena = arenas.open("a", "frame", [64])
    g.output("before", graph.F32, ["N", 64], arenas.read(arena, rows, [64]))
    arenas.write(arena, column(g, rows), value, [64])
    arenas.close()
    g.save(tmp_path / "arena.onnx")
    model = drive.session(tmp_path / "arena.onnx", 1)
    kind = {graph.F32: np.float32, graph.F16: np.float16}[cache]
    seconds = {}
    for count in (2_000, 2_000_000):
        held = ort.OrtValue.ortvalue_from_shape_and_type([count, 64], kind)
        binding = model.io_binding()
        binding.bind_cpu_input("rows", np.arange(5, 105, dtype=np.int64))
        binding.bind_cpu_input("value", np.full((100, 64), 3, np.float32))
        binding.bind_output("before")
        binding.bind_ortvalue_input("cache.a", held)
        binding.bind_ortvalue_output("cache_out.a", held)
        for _ in range(3):
            model.run_with_iobinding(binding)
        assert (binding.get_outputs()[0].numpy() == 3).all()  # the run before wrote it
        best = []
        for _ in range(20):
            start = time.perf_counter()
            model.run_with_iobinding(binding)
            best.append(time.perf_counter() - start)
        seconds[count] = min(best)
    assert seconds[2_000_000] < 5 * seconds[2_000] + 1e-3

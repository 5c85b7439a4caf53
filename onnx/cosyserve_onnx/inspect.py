"""Describes a bundle: its numbers, the size of every file, whether hashes and graphs are intact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from . import drive_flow
from .drive import read_manifest
from .export import sha256


def _files(value: Any) -> Iterator[tuple[str, str]]:
    """Every (file, sha256) pair anywhere in the manifest, external weights included."""
    if isinstance(value, dict):
        if "file" in value and "sha256" in value:
            yield value["file"], value["sha256"]
        if value.get("data") and "data_sha256" in value:
            yield value["data"], value["data_sha256"]
        for child in value.values():
            yield from _files(child)
    elif isinstance(value, list):
        for child in value:
            yield from _files(child)


def _operators(path: Path) -> str:
    """The most frequent operators of a graph."""
    counts = Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(6))


def _language_model(llm: dict[str, Any]) -> Iterator[str]:
    cache = f"{llm['kv_heads']} x {llm['head_dim']} {llm['kv_dtype']} keys and values"
    yield f"llm: {llm['layers']} layers, {cache}, {llm['max_positions']} positions"
    stops = f"{min(llm['stop'])} to {max(llm['stop'])}"
    yield f"llm: {llm['text_vocab']} text ids, {llm['speech_tokens']} speech tokens, stops at {stops}"
    yield f"llm: {llm['min_ratio']:g} to {llm['max_ratio']:g} speech tokens per text token"
    yield "sampling: " + ", ".join(f"{name} {value:g}" for name, value in llm["sampling"].items())


def _flow(manifest: dict[str, Any]) -> Iterator[str]:
    flow = manifest["flow"]
    yield f"flow: {flow['steps']} steps, guidance {flow['cfg_rate']}, chunks of {flow['chunk_tokens']} tokens"
    seconds = flow["noise"]["frames"] * manifest["mel"]["hop"] / manifest["sample_rate"]
    yield f"flow: looks {flow['lookahead_tokens']} tokens ahead, {seconds:g} s of fixed noise"
    for graph, caches in flow["caches"].items():
        kinds = Counter(f"{c['kind']} {c['shape']} {c['element']}" for c in caches)
        yield f"flow {graph} caches: " + ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    page = drive_flow.page_bytes(manifest) / 1e6
    yield f"flow: {page:.2f} MB of state a chunk, left context {flow['left_chunks'] or 'all'} chunks"


def _vocoder(vocoder: dict[str, Any]) -> Iterator[str]:
    if vocoder.get("kind") != "causal":
        yield f"vocoder: streams overlap by {vocoder['cache_mel_frames']} mel frames"
        return
    caches = [c for part in vocoder["caches"].values() for c in part]
    state = sum(4 * math.prod(c["shape"]) for c in caches) / 1e6
    yield f"vocoder: causal, looks {vocoder['lookahead_frames']} mel frames ahead, {state:.2f} MB of state a stream"
    yield "vocoder caches: " + ", ".join(f"{c['name']} {c['shape']} {c['element']}" for c in caches)


def _modes(manifest: dict[str, Any]) -> str:
    """What a server can do with the bundle."""
    modes = ["zero-shot", "cross-lingual", "voice conversion", "instruct"]
    end = manifest.get("end_of_prompt") or {}
    notes = [f"silence of {manifest['max_silent_run']} tokens at most"] if "max_silent_run" in manifest else []
    notes += [f"prompts need {end['text']}"] if end.get("required") else []
    modes += ["preset voices"] if manifest["voices"] else []
    modes += ["text streamed in"] if manifest.get("bistream", manifest["generation"] >= 2) else []
    return ", ".join(modes) + "".join(f"; {note}" for note in notes)


def inspect(bundle: Path, log: Callable[[str], None]) -> bool:
    """Prints the description; False if a file is missing or does not match its hash."""
    manifest = read_manifest(bundle)
    source = manifest["source"]
    generation, rate = manifest["generation"], manifest["sample_rate"]
    log(f"{manifest['name']}: generation {generation}, {manifest['precision']}, {rate} Hz")
    log(f"made by exporter {source['exporter']} from {source['checkpoint']}, licence {source['licence']}")
    for line in (*_language_model(manifest["llm"]), *_flow(manifest), *_vocoder(manifest["vocoder"])):
        log(line)
    log(f"modes: {_modes(manifest)}")
    good, total = True, 0.0
    for file, wanted in _files(manifest):
        path = bundle / file
        state = "missing"
        if path.is_file():
            state = "ok" if sha256(path) == wanted else "HASH DIFFERS"
        size = path.stat().st_size / 1e6 if path.is_file() else 0.0
        operators = _operators(path) if file.endswith(".onnx") and path.is_file() else ""
        log(f"  {file:<28} {size:9.2f} MB  {state}  {operators}")
        good, total = good and state == "ok", total + size
    log(f"  {'in all':<28} {total:9.2f} MB")
    log(f"voices: {', '.join(v['id'] for v in manifest['voices']) or 'none'}")
    return good

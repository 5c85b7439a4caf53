"""Describes a bundle: its numbers, the size of every file, whether hashes and graphs are intact."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from . import drive_flow
from .drive import read_manifest


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


def inspect(bundle: Path, log: Callable[[str], None]) -> bool:
    """Prints the description; False if a file is missing or does not match its hash."""
    manifest = read_manifest(bundle)
    llm, flow = manifest["llm"], manifest["flow"]
    log(f"{manifest['name']}: generation {manifest['generation']}, {manifest['precision']}, {manifest['source']}")
    cache = f"{llm['kv_heads']} x {llm['head_dim']} {llm['kv_dtype']} keys and values"
    log(f"llm: {llm['layers']} layers, {cache}, {llm['max_positions']} positions")
    log(f"flow: {flow['steps']} steps, guidance {flow['cfg_rate']}")
    if "stream" in flow:
        log("flow: chunks of {hop_tokens} tokens, {overlap_tokens} more overlap the next".format(**flow["stream"]))
    else:
        page = drive_flow.page_bytes(manifest) / 1e6
        log(f"flow: chunks of {flow['chunk_tokens']} tokens with {page:.2f} MB of state each, "
            f"left context {flow['left_chunks'] or 'all'} chunks")  # fmt: skip
    good = True
    for file, wanted in _files(manifest):
        path = bundle / file
        state = "missing"
        if path.is_file():
            state = "ok" if hashlib.sha256(path.read_bytes()).hexdigest() == wanted else "HASH DIFFERS"
        size = path.stat().st_size / 1e6 if path.is_file() else 0.0
        operators = _operators(path) if file.endswith(".onnx") and path.is_file() else ""
        log(f"  {file:<28} {size:9.2f} MB  {state}  {operators}")
        good = good and state == "ok"
    log(f"voices: {', '.join(v['id'] for v in manifest['voices']) or 'none'}")
    return good

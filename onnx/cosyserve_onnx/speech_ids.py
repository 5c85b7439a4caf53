"""Which rows and outputs of the language model are not speech: where it begins, where it ends.

Source: CosyVoice `llm/llm.py` (Qwen2LM and CosyVoice3LM).
"""

from __future__ import annotations

from .errors import ExportError


def speech_ids(tokens: int, text_vocab: int, speech_vocab: int, own_rows: bool) -> dict[str, object]:
    """The manifest's ids for `tokens` real speech tokens; `sos_id` and `task_id` are in the one id space.

    `own_rows` (generation 2): the rows that begin text and speech stand in a table of their own, behind the speech
    table; behind the speech tokens come eos and two more that stop, the last of which is the fill token. Generation 3
    keeps all in the speech table: sos, eos, task, fill, and rows without a name.
    """
    if own_rows:
        sos, task, eos, fill, stops = text_vocab + speech_vocab, text_vocab + speech_vocab + 1, tokens, tokens + 2, 3
    else:
        sos, task, eos, fill = text_vocab + tokens, text_vocab + tokens + 2, tokens + 1, tokens + 3
        stops = max(speech_vocab - tokens, 4)
    if speech_vocab < tokens + stops:
        raise ExportError(f"llm.pt: {speech_vocab} speech rows do not hold {tokens} tokens and {stops} special ones")
    return {
        "sos_id": sos,
        "task_id": task,
        "eos": eos,
        "stop": [tokens + i for i in range(stops)],
        "fill": fill,
        "speech_tokens": tokens,
    }

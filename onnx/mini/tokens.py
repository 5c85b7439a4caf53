"""The speech code: what a token of the small voice model means.

A token is one 40 ms slot. Its 6561 = 3^8 values are read as

    code = phone + 243 * (3 * pitch + position)

 - phone (0..242): the teacher's phoneme symbol; an English vowel under primary or secondary stress has classes of its
   own, so that stress marks need no slots, and so has an aspirated Mandarin consonant. Class 0 is the silence at both
   ends.
 - pitch (0..8): 0 unvoiced, 1..8 steps of 1.75 semitones around the voice's mean log-F0 (so a token says nothing about
   who speaks, and a Mandarin tone is heard in it).
 - position (0..2): first, second or later slot of this phone, so that two equal phones in a row stay apart.

Tokens follow from the teacher's *prosody* (durations and F0) alone. Durations are first rounded to slots and the
teacher then speaks with the rounded ones, so slots and audio agree to 12.5 ms (half a teacher frame) by construction.

Everything is batched torch over padded (B, T) phoneme ids and runs on the GPU.
"""

import json
from pathlib import Path

import torch

PHONES, PITCHES, POSITIONS = 243, 9, 3
CODES = PHONES * PITCHES * POSITIONS
SLOT_FRAMES = 1.6  # a slot of 40 ms in teacher frames of 25 ms
LEAD_SLOTS, TAIL_SLOTS = 3, 2  # silence around an utterance
PITCH_EDGES = tuple(1.75 * k for k in (-3, -2, -1, 0, 1, 2, 3))  # semitones
FUSED_SPACE = 2.01  # a word gap up to this many teacher frames is part of the phone before it

VOCABULARY = json.loads((Path(__file__).parent / "phonemes.json").read_text(encoding="utf8"))
SYMBOLS = 178
SPACE = VOCABULARY[" "]
STRESS = {VOCABULARY["ˈ"]: 1, VOCABULARY["ˌ"]: 2}
MODIFIERS = [VOCABULARY[c] for c in "↓→↗↘ːʰʲ\u0303ᵝ"]
ASPIRATION = VOCABULARY["ʰ"]
ASPIRATED = [VOCABULARY[c] for c in "ptkʨꭧʦ"]
VOWELS = [VOCABULARY[c] for c in "AIOQWYᵊaeiouæɑɐɒɔəɚɛɜɪʊʌᵻyøœɨɯɤ"]


def class_table():
    """(4, 178) phone class by variant (plain, primary stress, secondary stress, aspirated) and symbol id.

    Stressed vowels are numbered after the symbols; aspirated consonants take symbol ids that the teacher never uses.
    """
    table = torch.arange(SYMBOLS).repeat(4, 1)
    unused = sorted(set(range(1, SYMBOLS)) - set(VOCABULARY.values()))
    table[3, torch.tensor(ASPIRATED)] = torch.tensor(unused[: len(ASPIRATED)])
    for stress in (1, 2):
        table[stress, torch.tensor(VOWELS)] = SYMBOLS + (stress - 1) * len(VOWELS) + torch.arange(len(VOWELS))
    assert int(table.max()) < PHONES
    return table


def encode(phones):
    """A phoneme string as teacher ids, unknown symbols dropped."""
    return [VOCABULARY[c] for c in phones if c in VOCABULARY]


def join(phone, pitch, position):
    return phone + PHONES * (POSITIONS * pitch + position)


def split(code):
    """code -> (phone, pitch, position)"""
    rest = code // PHONES
    return code % PHONES, rest // POSITIONS, rest % POSITIONS


def lay_out(ids, lengths, durations, rate):
    """Round the teacher's durations to slots.

    ids (B, T): symbol ids, zero for both ends and for padding; lengths (B,): symbols including both ends;
    durations (B, T): teacher frames; rate (B,): the audio will be resampled to last `rate` times as long.
    Returns slot counts (B,), how many of them to cut off the beginning so that LEAD_SLOTS of silence remain (the
    teacher begins badly without its long lead), phone class (B, S) and position (B, S) of each slot, and the durations
    (B, T) in teacher frames which make the teacher speak in these slots. Every phone gets at least one slot; a phone
    squeezed that way is paid back by the next longer one, so the total length stays.
    """
    device, (batch, width) = ids.device, ids.shape
    column = torch.arange(width, device=device)[None]
    inside, last = column < lengths[:, None], lengths[:, None] - 1
    frames_per_slot = SLOT_FRAMES / rate[:, None]
    duration = durations.float() * inside
    lead = torch.round(duration[:, :1] / frames_per_slot).clamp(min=LEAD_SLOTS)  # as long as the teacher wants it
    duration = torch.where(column == 0, lead * frames_per_slot, duration)
    duration = torch.where(column == last, TAIL_SLOTS * frames_per_slot, duration)

    stress = torch.zeros(SYMBOLS, dtype=torch.long, device=device)
    for symbol, level in STRESS.items():
        stress[symbol] = level
    modifier = torch.zeros(SYMBOLS, dtype=torch.bool, device=device)
    modifier[torch.tensor(MODIFIERS)] = True
    is_stress = (stress[ids] > 0) & inside
    before = torch.nn.functional.pad(stress[ids], (1, 0))[:, :width]
    variant = torch.where(torch.nn.functional.pad(ids, (0, 1))[:, 1:] == ASPIRATION, 3, before)
    phone = class_table().to(device)[variant, ids]
    joins_previous = (modifier[ids] | ((ids == SPACE) & (duration <= FUSED_SPACE))) & (column > 0)
    head = inside & ~is_stress & ~joins_previous
    group = head.long().cumsum(1) - 1 + is_stress.long()
    group = torch.where(inside, group, group.gather(1, last)).clamp(min=0)

    length = torch.zeros_like(duration).scatter_add_(1, group, duration)
    groups = head.sum(1, keepdim=True)
    valid = column < groups
    group_end = length.cumsum(1)
    wanted = torch.round(group_end / frames_per_slot).long()
    slot_end = column + torch.cummax(wanted - column, 1).values.clamp(min=1)
    slot_end = torch.where(valid, slot_end, slot_end.gather(1, groups - 1))
    counts = slot_end[:, -1]
    group_phone = torch.zeros_like(ids).scatter_(1, torch.where(head, group, width - 1), torch.where(head, phone, 0))
    if width > 1:  # the scatter parks non-heads in the last column; restore it where it is a real group
        full = (groups == width)[:, 0]
        group_phone[full, width - 1] = phone[full, width - 1]

    cut = lead[:, 0].long() - LEAD_SLOTS
    slot = torch.arange(int(counts.max()), device=device)[None].expand(batch, -1).contiguous()
    owner = torch.searchsorted(slot_end.contiguous(), slot, right=True).clamp(max=width - 1)
    start = torch.nn.functional.pad(slot_end, (1, 0))[:, :width].gather(1, owner)
    position = torch.where(owner == 0, slot - cut[:, None], slot - start).clamp(0, POSITIONS - 1)
    slot_phone = group_phone.gather(1, owner)

    frame_end = torch.round(slot_end * frames_per_slot)
    frame_start = torch.nn.functional.pad(frame_end, (1, 0))[:, :width]
    old_start = torch.nn.functional.pad(group_end, (1, 0))[:, :width].gather(1, group)
    part = ((duration.cumsum(1) - old_start) / length.gather(1, group).clamp(min=1e-6)).clamp(0, 1)
    part = part * (frame_end - frame_start).gather(1, group)
    end = frame_start.gather(1, group) + torch.where(
        is_stress, (part - 1e-3).floor().clamp(min=0), (part - 1e-3).ceil()
    )
    end = torch.where(column >= last, frame_end.gather(1, groups - 1), end)
    end = torch.cummax(end, 1).values
    frames = torch.diff(end, dim=1, prepend=torch.zeros_like(end[:, :1])).long()
    return counts, cut, slot_phone, position, frames * inside


def pitch_levels(f0, slots, rate, mean_log_f0):
    """Pitch level (B, slots) from the teacher's F0 (B, 2 * frames, 80 Hz, 0 where unvoiced) and the voice's mean."""
    per_slot = 2 * SLOT_FRAMES / rate[:, None, None]
    points = torch.arange(slots, device=f0.device)[None, :, None] + torch.tensor([0.2, 0.5, 0.8], device=f0.device)
    index = (points * per_slot).floor().long().clamp(max=f0.shape[1] - 1)
    values = f0.gather(1, index.flatten(1)).view(index.shape)
    voiced = values > 40
    count = voiced.sum(-1)
    mean = (values.clamp(min=1).log() * voiced).sum(-1) / count.clamp(min=1)
    semitones = (mean - mean_log_f0[:, None]) * (12 / 0.6931471805599453)
    level = 1 + torch.bucketize(semitones, torch.tensor(PITCH_EDGES, device=f0.device))
    return torch.where(count >= 2, level, 0)

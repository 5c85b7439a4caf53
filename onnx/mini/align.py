"""Forced alignment: which phone of a known sentence is heard in which 40 ms slot.

A Viterbi search over the recogniser's log-probabilities (T, 243): phones in order, one slot or more each, with optional
gaps where the phoneme string has spaces and punctuation. Gaps take whatever kind of pause the recogniser hears best.
"""

import numpy as np

import tokens

SILENCE = 0
GAPS = [SILENCE, tokens.SPACE, *(tokens.VOCABULARY[c] for c in ";:,.!?—…" if c in tokens.VOCABULARY)]
NEVER = -1e9
CLASSES = tokens.class_table().numpy()  # here, since workers that align are forked and must not run torch


def groups(phones):
    """A phoneme string -> [(class, is a gap)], as tokens.lay_out groups symbols; silence at both ends."""
    ids = tokens.encode(phones)
    out = [(SILENCE, True)]
    for i, symbol in enumerate(ids):
        if symbol in tokens.STRESS or symbol in tokens.MODIFIERS:
            continue
        if symbol in GAPS:
            if not out[-1][1]:
                out.append((symbol, True))
            continue
        variant = 3 if i + 1 < len(ids) and ids[i + 1] == tokens.ASPIRATION else 0
        if variant == 0 and i and ids[i - 1] in tokens.STRESS:
            variant = tokens.STRESS[ids[i - 1]]
        out.append((int(CLASSES[variant, symbol]), False))
    if not out[-1][1]:
        out.append((SILENCE, True))
    return out


def align(log_probabilities, phones):
    """-> (state of each slot (T,), class of each slot (T,), mean log-probability), or None where it cannot be said."""
    states = groups(phones)
    slots = len(log_probabilities)
    if sum(not gap for _, gap in states) > slots:
        return None
    gap = np.array([g for _, g in states])
    emission = log_probabilities[:, [c for c, _ in states]]
    emission[:, gap] = np.logaddexp.reduce(log_probabilities[:, GAPS], axis=1)[:, None]
    count = len(states)
    score = np.full(count, NEVER)
    score[0] = emission[0, 0]
    score[1] = emission[0, 1]
    back = np.zeros((slots, count), np.int8)
    skippable = np.concatenate([[False, False], gap[1:-1]])  # from state s - 2 over an optional gap
    for t in range(1, slots):
        stay = score
        step = np.concatenate([[NEVER], score[:-1]])
        skip = np.where(skippable, np.concatenate([[NEVER, NEVER], score[:-2]]), NEVER)
        choice = np.stack([stay, step, skip])
        best = choice.argmax(0)
        back[t] = best
        score = choice[best, np.arange(count)] + emission[t]
    last = count - 1 if score[-1] >= score[-2] else count - 2
    if score[last] < NEVER / 2:
        return None
    path = np.zeros(slots, np.int64)
    path[-1] = last
    for t in range(slots - 1, 0, -1):
        path[t - 1] = path[t] - back[t, path[t]]
    heard = np.array(GAPS)[log_probabilities[:, GAPS].argmax(1)]
    classes = np.where(gap[path], heard, np.array([c for c, _ in states])[path])
    classes = np.where((path == 0) | (path == count - 1), SILENCE, classes)
    for state in np.unique(path[gap[path]]):  # one kind of pause for a gap
        where = path == state
        values, counts = np.unique(classes[where], return_counts=True)
        classes[where] = values[counts.argmax()]
    return path, classes, float(score[last] / slots)

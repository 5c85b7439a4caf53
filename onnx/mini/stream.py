"""The audio training set on the GPU: one stream per feature, ordered by identity (see generate.py).

Any slice of the stream is one voice saying some sentences in a row, so batches need no padding and no masks, and a flow
trained on slices knows prompts (the beginning of the slice) by construction.
"""

import torch

import tokens

WIDTHS = {"tokens": 1, "mel": 2, "whisper": 4, "audio": 960, "f0": 2}


class Stream:
    def __init__(self, folder, names, device):
        meta = torch.load(folder / "utterances.pt", weights_only=True)
        self.device, self.table = device, meta["table"].to(device)
        self.embeddings = meta["embeddings"].to(device)
        self.people = meta["names"]
        self.data = {n: torch.load(folder / f"{n}.pt", weights_only=True).to(device) for n in names}
        person = self.table[:, 1]
        count = len(self.people)
        slots = torch.zeros(count, dtype=torch.long, device=device).index_add_(0, person, self.table[:, 3])
        self.end = slots.cumsum(0)
        self.begin = self.end - slots
        self.utterances = torch.bincount(person, minlength=count)
        self.first_utterance = self.utterances.cumsum(0) - self.utterances
        unit = torch.nn.functional.normalize(self.embeddings, dim=1)
        total = torch.zeros(count, 192, device=device).index_add_(0, person, unit)
        self.centroids = torch.nn.functional.normalize(total, dim=1)

    def starts(self, batch, slots, at_sentence=0.7):
        """Random slices of `slots` tokens -> first token (B,), identity (B,)"""
        i = torch.randint(len(self.table), (batch,), device=self.device)
        person, first = self.table[i, 1], self.table[i, 2]
        anywhere = torch.rand(batch, device=self.device) >= at_sentence
        first = first + (anywhere * torch.rand(batch, device=self.device) * self.table[i, 3]).long()
        latest = (self.end[person] - slots).clamp(min=0)
        return torch.minimum(first, latest), person

    def slice(self, name, first, slots):
        """(B, slots * width, ...)"""
        width, data = WIDTHS[name], self.data[name]
        index = (first * width)[:, None] + torch.arange(slots * width, device=self.device)[None]
        return data[index.clamp(max=len(data) - 1)]

    def speakers(self, person, centroid_share=0.35):
        """A speaker embedding for each row: of a random utterance of the identity, or its centroid."""
        draw = (torch.rand(len(person), device=self.device) * self.utterances[person]).long()
        one = torch.nn.functional.normalize(self.embeddings[self.first_utterance[person] + draw], dim=1)
        use = (torch.rand(len(person), 1, device=self.device) < centroid_share).float()
        return use * self.centroids[person] + (1 - use) * one


def perturb(codes, share=0.03):
    """Codes with slips as a language model makes them: a neighbouring pitch mostly, sometimes the phone next door."""
    phone, pitch, position = tokens.split(codes)
    draw = torch.rand(codes.shape, device=codes.device)
    moved = (pitch + torch.randint(-1, 2, codes.shape, device=codes.device)).clamp(0, tokens.PITCHES - 1)
    pitch = torch.where((draw < share) & (pitch > 0) & (moved > 0), moved, pitch)
    phone = torch.where(draw > 1 - share / 4, phone.roll(1, 1), phone)
    return tokens.join(phone, pitch, position)

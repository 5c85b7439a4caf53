"""The audio training set on the GPU: one stream per feature, ordered by identity (see generate.py).

Any slice of the stream is one voice saying some sentences in a row, so batches need no padding and no masks, and a flow
trained on slices knows prompts (the beginning of the slice) by construction. Several sets (the teacher's, recordings of
people) are drawn from side by side.
"""

import torch

import tokens

WIDTHS = {"tokens": 1, "mel": 2, "whisper": 4, "audio": 960, "f0": 2}


class Stream:
    def __init__(self, folder, names, device):
        meta = torch.load(folder / "utterances.pt", weights_only=True)
        self.device, self.table, self.people = device, meta["table"].to(device), meta["names"]
        self.data = {n: torch.load(folder / f"{n}.pt", weights_only=True).to(device) for n in names}
        count = len(self.people)
        slots = torch.zeros(count, dtype=torch.long, device=device).index_add_(0, self.table[:, 1], self.table[:, 3])
        self.end = slots.cumsum(0)
        self.begin = self.end - slots
        self.long_enough = {}
        if "embeddings" in meta:
            self.embed(meta["embeddings"].to(device), meta["embedded"].to(device))

    def embed(self, embeddings, person):
        """Take embeddings (E, 192) of pieces of the identities `person` (E,), in order."""
        self.embeddings = torch.nn.functional.normalize(embeddings, dim=1)
        count = len(self.people)
        self.pieces = torch.bincount(person, minlength=count)
        self.first_piece = self.pieces.cumsum(0) - self.pieces
        total = torch.zeros(count, 192, device=self.device).index_add_(0, person, self.embeddings)
        self.centroids = torch.nn.functional.normalize(total, dim=1)

    def starts(self, batch, slots, at_sentence=0.7):
        """Random slices of `slots` tokens -> first token (B,), identity (B,)"""
        if slots not in self.long_enough:
            enough = (self.end - self.begin)[self.table[:, 1]] >= slots
            self.long_enough[slots] = enough.nonzero()[:, 0]
        choice = self.long_enough[slots]
        i = choice[torch.randint(len(choice), (batch,), device=self.device)]
        person, first = self.table[i, 1], self.table[i, 2]
        anywhere = torch.rand(batch, device=self.device) >= at_sentence
        first = first + (anywhere * torch.rand(batch, device=self.device) * self.table[i, 3]).long()
        return torch.minimum(first, self.end[person] - slots), person

    def slice(self, name, first, slots):
        """(B, slots * width, ...)"""
        width, data = WIDTHS[name], self.data[name]
        index = (first * width)[:, None] + torch.arange(slots * width, device=self.device)[None]
        return data[index.clamp(max=len(data) - 1)]

    def speakers(self, person, centroid_share=0.3):
        """A speaker embedding for each row: of a random piece of the identity, or its centroid."""
        draw = (torch.rand(len(person), device=self.device) * self.pieces[person]).long()
        one = self.embeddings[self.first_piece[person] + draw]
        use = (torch.rand(len(person), 1, device=self.device) < centroid_share).float()
        return use * self.centroids[person] + (1 - use) * one


class Mixture:
    """Batches with rows of several streams; shares add up to 1."""

    def __init__(self, streams, shares):
        self.streams, self.shares = streams, shares

    def rows(self, batch):
        counts = [round(batch * s) for s in self.shares[1:]]
        return [batch - sum(counts), *counts]

    def draw(self, names, batch, slots, at_sentence=0.7, speakers=False):
        """-> a list of tensors, for `names`, and the speaker embeddings if asked for"""
        parts = []
        for stream, count in zip(self.streams, self.rows(batch), strict=True):
            first, person = stream.starts(count, slots, at_sentence)
            part = [stream.slice(n, first, slots) for n in names]
            parts.append([*part, stream.speakers(person)] if speakers else part)
        return [torch.cat(p) for p in zip(*parts, strict=True)]

    @classmethod
    def load(cls, teacher, people, share, names, device):
        """The teacher's sets, as much of each, and the people's with its `share` if there is one."""
        people, share = ([], 0.0) if people is None else ([people], share)
        shares = [(1 - share) / len(teacher)] * len(teacher) + [share] * len(people)
        return cls([Stream(f, names, device) for f in [*teacher, *people]], shares)


def perturb(codes, share=0.02, often=0.3, most=0.4, longest=0.6):
    """Codes with slips. A language model makes few (`share` of them): a neighbouring pitch mostly, sometimes the phone
    next door. A recogniser makes many, and what it hears is the prompt: in a part `often` of the rows, a beginning of
    up to `longest` of the row has up to `most` of them."""
    phone, pitch, position = tokens.split(codes)
    device, rows = codes.device, (len(codes), 1)
    place = torch.arange(codes.shape[1], device=device)[None] / codes.shape[1]
    heard = (torch.rand(rows, device=device) < often) & (place < torch.rand(rows, device=device) * longest)
    shares = torch.where(heard, torch.rand(rows, device=device) * most, share)
    draw = torch.rand(codes.shape, device=device)
    moved = (pitch + torch.randint(-1, 2, codes.shape, device=device)).clamp(0, tokens.PITCHES - 1)
    pitch = torch.where((draw < shares) & (pitch > 0) & (moved > 0), moved, pitch)
    phone = torch.where(draw > 1 - shares * torch.where(heard, 0.5, 0.25), phone.roll(1, 1), phone)
    return tokens.join(phone, pitch, position)

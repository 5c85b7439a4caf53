"""The flow: codes (25 Hz) -> log-mel (50 Hz) by conditional flow matching, in CosyVoice 2's layout and key names.

An own, batched implementation of the official topology, sized down: a conformer encoder of width 256 with 3 codes of
look-ahead (2 blocks at 25 Hz, 4 at 50 Hz) and a causal U-net estimator [256] with 5 blocks (1 down, 3 mid, 1 up), each
one transformer layer of 4 x 64. Full and chunk-wise attention (25 codes, 50 frames) are trained in turns, so one
checkpoint serves whole utterances and streams. `export()` gives the state dict of the official flow.pt.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import tokens
from tables import CodeTable

WIDTH, HEADS, HEAD_DIM, FEED_FORWARD, MEL, LOOK_AHEAD, CHUNK = 256, 4, 64, 512, 80, 3, 25
GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, modulo 1, are as evenly spread as any
STEPS = 10  # of the solver, at times 1 - cos(pi / 2 k / STEPS)
HEARD = 0.3  # weight of a frame of the prompt in the loss
KERNELS = {
    "unfold": False,
    "fused": False,
    "compiled": False,
}  # how to compute convolutions and relative attention; train_flow.py picks the fastest
ESTIMATOR = {"channels": 256, "mid_blocks": 3, "heads": 4, "head_dim": 64}


def chunk_mask(width, chunk, device):
    """(width, width) additive mask: each position sees its own chunk and everything before; chunk 0 sees all."""
    if not chunk:
        return torch.zeros(width, width, device=device)
    index = torch.arange(width, device=device) // chunk
    return torch.zeros(width, width, device=device).masked_fill(index[None] > index[:, None], -1e4)


def relative_positions(width, dim, device):
    """(2 width - 1, dim) sinusoids of the offsets width - 1 .. -(width - 1)"""
    position = torch.arange(width - 1, -width, -1, device=device).float()[:, None]
    angle = position * torch.exp(torch.arange(0, dim, 2, device=device).float() * (-math.log(10000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class RelativeAttention(nn.Module):
    """Transformer-XL attention as in ESPnet."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u, self.pos_bias_v = (nn.Parameter(torch.empty(heads, dim // heads)) for _ in range(2))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x, positions, mask):
        batch, width, dim = x.shape
        q, k, v = (p(x).view(batch, width, self.heads, -1) for p in (self.linear_q, self.linear_k, self.linear_v))
        p = self.linear_pos(positions).view(-1, self.heads, dim // self.heads).transpose(0, 1)
        place = (q + self.pos_bias_v.to(q.dtype)).transpose(1, 2) @ p.transpose(1, 2)
        place = (
            F.pad(place, (1, 0)).view(batch, self.heads, 2 * width, width)[:, :, 1:].reshape(place.shape)[..., :width]
        )
        scale = 1 / math.sqrt(dim // self.heads)
        q, k, v = (q + self.pos_bias_u.to(q.dtype)).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if KERNELS["fused"]:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=place * scale + mask.to(place.dtype), scale=scale)
        else:
            out = torch.softmax((q @ k.transpose(2, 3) + place).float() * scale + mask, -1).to(v.dtype) @ v
        return self.linear_out(out.transpose(1, 2).reshape(batch, width, dim))


class PositionwiseFeedForward(nn.Module):
    def __init__(self, dim, hidden, dropout):
        super().__init__()
        self.w_1, self.w_2, self.dropout = nn.Linear(dim, hidden), nn.Linear(hidden, dim), dropout

    def forward(self, x):
        return self.w_2(F.dropout(F.silu(self.w_1(x)), self.dropout, self.training))


class ConformerLayer(nn.Module):
    """Without macaron and convolution, as CosyVoice 2 uses it."""

    def __init__(self, dim, heads, hidden, dropout):
        super().__init__()
        self.self_attn, self.feed_forward = RelativeAttention(dim, heads), PositionwiseFeedForward(dim, hidden, dropout)
        self.norm_ff, self.norm_mha = nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=1e-12)
        self.dropout = dropout

    def forward(self, x, positions, mask):
        x = x + F.dropout(self.self_attn(self.norm_mha(x), positions, mask), self.dropout, self.training)
        return x + F.dropout(self.feed_forward(self.norm_ff(x)), self.dropout, self.training)


class Embed(nn.Module):
    def __init__(self, dim, dropout):
        super().__init__()
        self.out = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim, eps=1e-5), nn.Dropout(dropout))
        self.scale = math.sqrt(dim)

    def forward(self, x):
        return self.out(x) * self.scale


class LookAhead(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(dim, dim, LOOK_AHEAD + 1), nn.Conv1d(dim, dim, 3)

    def forward(self, x, context=None):
        """context (B, 3, dim): the codes after the last, where they are known; zeros otherwise"""
        y = F.pad(x, (0, 0, 0, LOOK_AHEAD)) if context is None else torch.cat([x, context], 1)
        y = F.leaky_relu(self.conv1(y.transpose(1, 2)))
        return self.conv2(F.pad(y, (2, 0))).transpose(1, 2) + x


class UpLayer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 5)

    def forward(self, x):
        return self.conv(F.pad(x.transpose(1, 2).repeat_interleave(2, 2), (4, 0))).transpose(1, 2)


class Encoder(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.embed, self.up_embed = Embed(WIDTH, dropout), Embed(WIDTH, dropout)
        self.after_norm = nn.LayerNorm(WIDTH, eps=1e-5)
        self.pre_lookahead_layer, self.up_layer = LookAhead(WIDTH), UpLayer(WIDTH)
        self.encoders = nn.ModuleList([ConformerLayer(WIDTH, HEADS, FEED_FORWARD, dropout) for _ in range(2)])
        self.up_encoders = nn.ModuleList([ConformerLayer(WIDTH, HEADS, FEED_FORWARD, dropout) for _ in range(4)])

    def forward(self, x, masks, context=None):
        """x (B, T, 256), masks: additive (T, T) and (2T, 2T) -> (B, 2T, 256)"""
        x = self.pre_lookahead_layer(self.embed(x), None if context is None else self.embed(context))
        positions = relative_positions(x.shape[1], WIDTH, x.device).to(x.dtype)
        for layer in self.encoders:
            x = layer(x, positions, masks[0])
        x = self.up_embed(self.up_layer(x))
        positions = relative_positions(x.shape[1], WIDTH, x.device).to(x.dtype)
        for layer in self.up_encoders:
            x = layer(x, positions, masks[1])
        return self.after_norm(x)


class CausalConv(nn.Conv1d):
    def __init__(self, dim, dim_out, kernel):
        super().__init__(dim, dim_out, kernel)

    def forward(self, x):
        x = F.pad(x, (self.kernel_size[0] - 1, 0))
        if not KERNELS["unfold"]:
            return super().forward(x)
        windows = x.transpose(1, 2).unfold(1, self.kernel_size[0], 1).flatten(2)
        return F.linear(windows, self.weight.flatten(1), self.bias).transpose(1, 2)


class Swap(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Block(nn.Module):
    def __init__(self, dim, dim_out):
        super().__init__()
        self.block = nn.Sequential(CausalConv(dim, dim_out, 3), Swap(), nn.LayerNorm(dim_out), Swap(), nn.Mish())

    def forward(self, x):
        return self.block(x)


class ResnetBlock(nn.Module):
    def __init__(self, dim, dim_out, time_dim):
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_dim, dim_out))
        self.block1, self.block2 = Block(dim, dim_out), Block(dim_out, dim_out)
        self.res_conv = nn.Conv1d(dim, dim_out, 1)

    def forward(self, x, time):
        """time (B, dim_out): what `mlp` makes of the time's embedding"""
        return self.block2(self.block1(x) + time[..., None]) + self.res_conv(x)


class EstimatorAttention(nn.Module):
    def __init__(self, dim, heads, head_dim):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, heads * head_dim, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(heads * head_dim, dim), nn.Identity()])

    @torch.no_grad()
    def loudness(self, norm):
        """(heads,) standard deviation of each head's scores for random inputs under a norm's weight (dim,). In the
        hundreds, a head picks one frame, whatever it is given, and has no gradient."""
        q, k = ((a.weight * norm).unflatten(0, (self.heads, -1)) for a in (self.to_q, self.to_k))
        return (q.mT @ k).flatten(1).norm(dim=1) / math.sqrt(q.shape[1])

    def forward(self, x, mask):
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.to_q, self.to_k, self.to_v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype)[None, None])
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class Projection(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.proj = nn.Linear(dim, hidden)

    def forward(self, x):
        return F.gelu(self.proj(x))


class EstimatorFeedForward(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.ModuleList([Projection(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    def __init__(self, dim, heads, head_dim):
        super().__init__()
        self.norm1, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn1, self.ff = EstimatorAttention(dim, heads, head_dim), EstimatorFeedForward(dim)

    def forward(self, x, mask):
        x = x + self.attn1(self.norm1(x), mask)
        return x + self.ff(self.norm3(x))


class TimeMLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(dim, hidden), nn.Linear(hidden, hidden)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


def time_angles(t):
    """(B,) -> (B, 320) sinusoids of a time from 0 to 1"""
    half = 2 * MEL
    frequency = torch.exp(torch.arange(half, device=t.device).float() * (-math.log(10000) / (half - 1)))
    angle = 1000 * t[:, None] * frequency[None]
    return torch.cat([angle.sin(), angle.cos()], -1)


class Estimator(nn.Module):
    def __init__(self, channels, mid_blocks, heads, head_dim):
        super().__init__()
        time_dim, inputs = 4 * channels, 4 * MEL

        def stage(dim):
            return [ResnetBlock(dim, channels, time_dim), nn.ModuleList([TransformerBlock(channels, heads, head_dim)])]

        self.time_mlp = TimeMLP(inputs, time_dim)
        self.down_blocks = nn.ModuleList([nn.ModuleList([*stage(inputs), CausalConv(channels, channels, 3)])])
        self.mid_blocks = nn.ModuleList([nn.ModuleList(stage(channels)) for _ in range(mid_blocks)])
        self.up_blocks = nn.ModuleList([nn.ModuleList([*stage(2 * channels), CausalConv(channels, channels, 3)])])
        self.final_block, self.final_proj = Block(channels, channels), nn.Conv1d(channels, MEL, 1)

    def stages(self):
        return [*self.down_blocks, *self.mid_blocks, *self.up_blocks]

    def transformers(self):
        return [stage[1][0] for stage in self.stages()]

    def times(self, t):
        """Of each residual block, what it adds (B, channels) at times t (B,). In f32: early rows are small next to the
        numbers they are sums of."""
        with torch.autocast(t.device.type, enabled=False):
            embedding = self.time_mlp(time_angles(t))
            return [stage[0].mlp(embedding) for stage in self.stages()]

    def forward(self, x, mu, t, speaker, cond, mask):
        """x, mu, cond (B, 80, T); t (B,); speaker (B, 80); mask additive (T, T) -> velocity (B, 80, T)"""
        return self.velocity(x, mu, self.times(t), speaker, cond, mask)

    def velocity(self, x, mu, times, speaker, cond, mask):
        """The same, of what `times` gives instead of t"""
        times = iter(times)
        x = torch.cat([x, mu, speaker[..., None].expand(-1, -1, x.shape[-1]), cond], 1)

        def run(stage, x):
            x = stage[0](x, next(times)).transpose(1, 2)
            return stage[1][0](x, mask).transpose(1, 2)

        x = run(self.down_blocks[0], x)
        skip = x
        x = self.down_blocks[0][2](x)
        for stage in self.mid_blocks:
            x = run(stage, x)
        x = run(self.up_blocks[0], torch.cat([x, skip], 1))
        return self.final_proj(self.final_block(self.up_blocks[0][2](x)))


def spread(count, device):
    """(count,) numbers from 0 to 1, random ones together but evenly spread over every run of rows: as times, less noise
    in the gradient than independent ones have."""
    return (torch.rand(1, device=device) + torch.arange(count, device=device) * GOLDEN) % 1


def schedule(share):
    """The time, from 0 to 1, that the solver has come to after this share of its steps"""
    return 1 - torch.cos(share * 0.5 * math.pi)


def solver_times(steps=STEPS):
    """(steps + 1,) where the solver's steps begin, and the end"""
    return schedule(torch.linspace(0, 1, steps + 1))


def begin_of_step(t):
    """The beginning of the solver's step that a time from 0 to 1 lies in, the only times it asks for."""
    step = (torch.acos(1 - t) / (0.5 * math.pi) * STEPS).floor().clamp(max=STEPS - 1)
    return schedule(step / STEPS)


class Flow(nn.Module):
    def __init__(self, dropout=0.05):
        super().__init__()
        self.codes = CodeTable(WIDTH, std=1.0)
        self.spk_embed_affine_layer, self.encoder_proj = nn.Linear(192, MEL), nn.Linear(WIDTH, MEL)
        self.encoder = Encoder(dropout)
        self.decoder = nn.ModuleDict({"estimator": Estimator(**ESTIMATOR)})

    def condition(self, codes, speaker, masks, context=None):
        """-> mu (B, 80, 2T), speaker (B, 80)"""
        table = self.codes.table()
        context = None if context is None else F.embedding(context, table)
        h = self.encoder_proj(self.encoder(F.embedding(codes, table), masks, context))
        return h.float().transpose(1, 2), self.spk_embed_affine_layer(F.normalize(speaker, dim=1)).float()

    def forward(self, codes, mel, speaker, masks, guidance_dropout=0.15, prompted=0.9, longest_prompt=0.6, forgot=0.5):
        """Training losses: codes (B, T), mel (B, 2T, 80), speaker (B, 192) -> flow matching, prior (mu against mel),
        mean square of what the residual blocks add for the time

        Frames of the prompt count HEARD: they are easy, but the solver goes through them too.
        `prompted`: share of rows that see the beginning of their mel, up to a share `longest_prompt` of it; `forgot`:
        share of those that have no speaker embedding, so that the voice is learned from the prompt too.
        """
        mel = mel.transpose(1, 2)
        mu, spk = self.condition(codes, speaker, masks)
        prior = (mu - mel).abs().mean()
        batch, device = len(codes), codes.device
        length = torch.rand(batch, device=device) * longest_prompt * mel.shape[2]
        prompt = length * (torch.rand(batch, device=device) < prompted)
        heard = torch.arange(mel.shape[2], device=device)[None] < prompt[:, None]
        cond = mel * heard[:, None]
        known = 1 - ((torch.rand(batch, device=device) < forgot) & (prompt > 1)).float()
        t = begin_of_step(spread(batch, device))
        times = self.decoder["estimator"].times(t)
        t = t[:, None, None]
        noise = torch.randn_like(mel)
        keep = (torch.rand(batch, device=device) > guidance_dropout).float()
        y = (1 - (1 - 1e-6) * t) * noise + t * mel
        velocity = self.decoder["estimator"].velocity(
            y, mu * keep[:, None, None], times, spk * (keep * known)[:, None], cond * keep[:, None, None], masks[1]
        )
        error = (velocity.float() - (mel - (1 - 1e-6) * noise)).square().mean(1)
        weight = 1 - (1 - HEARD) * heard.float()
        return (error * weight).sum() / weight.sum(), prior, torch.stack(times).square().mean()

    @torch.no_grad()
    def sample(self, codes, speaker, prompt_mel=None, noise=None, steps=STEPS, guidance=0.7, streaming=False):
        """codes (1, T), the prompt's first -> mel (1, 80, 2T); streaming: with the chunk-wise attention of a stream"""
        width = 2 * codes.shape[1]
        chunks = (CHUNK, 2 * CHUNK) if streaming else (0, 0)
        masks = [chunk_mask(w, c, codes.device) for w, c in zip((width // 2, width), chunks, strict=True)]
        mu, spk = self.condition(codes, speaker, masks)
        cond = torch.zeros_like(mu)
        if prompt_mel is not None:
            cond[:, :, : prompt_mel.shape[2]] = prompt_mel
        x = torch.randn_like(mu) if noise is None else noise[:, :, :width]
        times = solver_times(steps)
        for t, later in zip(times[:-1], times[1:], strict=True):
            both = [torch.cat([a, a * 0]) for a in (mu, spk, cond)]
            v = self.decoder["estimator"](x.repeat(2, 1, 1), both[0], t.expand(2).to(x), both[1], both[2], masks[1])
            x = x + (later - t) * ((1 + guidance) * v[:1] - guidance * v[1:])
        return x

    def export(self):
        out = {k: v for k, v in self.state_dict().items() if not k.startswith("codes.")}
        out["input_embedding.weight"] = self.codes.table()[: tokens.CODES]
        return {k: v.detach().half().cpu().clone() for k, v in out.items()}

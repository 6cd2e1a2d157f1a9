"""The reference model: a 6-layer Llama (hidden 512, 8 query and 4 KV heads of 64, feed-forward 768, tied vocabulary of 4096).

Parameters of all layers stand stacked in one tensor a kind, so that the optimiser works on few. Checkpoints are fp16: a.npz
(embedding and attention) and b.npz (feed-forward). Weights are fp32 masters, arithmetic is bf16.
"""

import os

import numpy as np
import torch

HIDDEN, LAYERS, QUERY_HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY, CONTEXT = 512, 6, 8, 4, 64, 768, 4096, 131072
ROPE_BASE = 1e10  # about 14 of 32 pairs turn less than half a radian over 128K
NORM_EPS = 1e-5
FFN_WEIGHTS = ("wg", "wu", "wd")
MATRICES = ("wq", "wk", "wv", "wo", *FFN_WEIGHTS)


def new_parameters():
    """What writes into the residual stream begins at zero."""

    def matrices(rows, columns):
        return torch.randn(LAYERS, rows, columns) * 0.5 * columns**-0.5

    return {
        "emb": torch.randn(VOCABULARY, HIDDEN) * 0.02,
        "wq": matrices(HIDDEN, HIDDEN),
        "wk": matrices(KV_HEADS * HEAD_DIM, HIDDEN),
        "wv": matrices(KV_HEADS * HEAD_DIM, HIDDEN),
        "wo": torch.zeros(LAYERS, HIDDEN, HIDDEN),
        "wg": matrices(FFN, HIDDEN),
        "wu": matrices(FFN, HIDDEN),
        "wd": torch.zeros(LAYERS, HIDDEN, FFN),
        "ln1": torch.ones(LAYERS, HIDDEN),
        "ln2": torch.ones(LAYERS, HIDDEN),
        "fn": torch.ones(HIDDEN),
    }


def read_checkpoint(folder):
    return {name: torch.as_tensor(file[name]).float() for file in map(np.load, files_of(folder)) for name in file}


def write_checkpoint(folder, parameters):
    os.makedirs(folder, exist_ok=True)
    halves = {name: value.detach().half().cpu().numpy() for name, value in parameters.items()}
    attention, feed_forward = files_of(folder)
    np.savez(attention, **{name: value for name, value in halves.items() if name not in FFN_WEIGHTS})
    np.savez(feed_forward, **{name: halves[name] for name in FFN_WEIGHTS})


def files_of(folder):
    return f"{folder}/a.npz", f"{folder}/b.npz"


def rope_tables(length, device):
    """Cosines and sines [length, HEAD_DIM / 2]; angles in double precision."""
    frequencies = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2, device=device, dtype=torch.float64) / HEAD_DIM)
    angles = torch.arange(length, device=device, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def rms_norm(x, gain):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + NORM_EPS) * gain.float()).to(torch.bfloat16)


def rotate(x, cosines, sines):  # x [tokens, heads, HEAD_DIM]
    a, b = x.float().chunk(2, -1)
    c, s = cosines[:, None], sines[:, None]
    return torch.cat([a * c - b * s, b * c + a * s], -1).to(torch.bfloat16)


def qkv(x, gain, wq, wk, wv, cosines, sines):
    """Rotated queries and keys, and values: [tokens, heads, HEAD_DIM]."""
    h, tokens = rms_norm(x, gain), x.shape[0]
    q = (h @ wq.to(h.dtype).T).view(tokens, QUERY_HEADS, HEAD_DIM)
    k = (h @ wk.to(h.dtype).T).view(tokens, KV_HEADS, HEAD_DIM)
    v = (h @ wv.to(h.dtype).T).view(tokens, KV_HEADS, HEAD_DIM)
    return rotate(q, cosines, sines), rotate(k, cosines, sines), v


def behind_attention(x, attended, wo, gain, wg, wu, wd):
    x = x + attended @ wo.to(attended.dtype).T
    h = rms_norm(x, gain)
    gate = torch.nn.functional.silu(h @ wg.to(h.dtype).T)
    return x + (gate * (h @ wu.to(h.dtype).T)) @ wd.to(h.dtype).T


def logits(x, gain, embedding):
    h = rms_norm(x, gain)
    return (h @ embedding.to(h.dtype).T).float()

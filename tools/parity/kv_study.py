#!/usr/bin/env python3
"""What the cache's codecs and rounded activations cost, simulated on the fp32 reference before (and beside) the engine.

    python3 tools/parity/kv_study.py MODEL.gguf IDS.json [--only kv4] [--json]

Per variant: rise of the mean NLL, mean |difference| of the next-token log-probability, and the share of positions whose
top-1 token changes although the reference's two best logits are more than 0.1 apart. Keys are encoded after RoPE and read
as encoded from birth, as in the engine. Needs numpy and gguf.
"""
import argparse
import json

import numpy as np

from reference import Model


def half(x):
    return x.astype(np.float16).astype(np.float32)


def affine(x, bits, group=None):
    """Asymmetric per row of the last axis (or per `group` of it): fp16 scale (max - min) / levels, fp16 minimum."""
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, group or shape[-1])
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    levels = 2**bits - 1
    scale = half((high - low) / levels)
    low = half(low)
    code = np.clip(np.rint((x - low) / np.maximum(scale, 1e-8)), 0, levels)
    return (code * scale + low).reshape(shape)


def affine_a4(x, bits):
    """The form of QServe A4: real-valued zero z = -min / scale in fp16, code rint(x / s + z)."""
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    levels = 2**bits - 1
    scale, zero = half((high - low) / levels), half(-levels * low / np.maximum(high - low, 1e-8))
    code = np.clip(np.rint(x / np.maximum(scale, 1e-8) + zero), 0, levels)
    return (code - zero) * scale


def affine_best(x, bits, group=None, shrinks=(1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)):
    """As `affine`, but the range is shrunk about its middle by whatever factor leaves the least squared error."""
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, group or shape[-1])
    low, high = x.min(axis=-1, keepdims=True), x.max(axis=-1, keepdims=True)
    levels, best, least = 2**bits - 1, None, None
    for shrink in shrinks:
        middle, reach = (low + high) / 2, (high - low) / 2 * shrink
        scale, bottom = half(2 * reach / levels), half(middle - reach)
        y = np.clip(np.rint((x - bottom) / np.maximum(scale, 1e-8)), 0, levels) * scale + bottom
        error = ((x - y) ** 2).sum(axis=-1, keepdims=True)
        if best is None:
            best, least = y, error
        else:
            best, least = np.where(error < least, y, best), np.minimum(error, least)
    return best.reshape(shape)


def hadamard(dim):
    h = np.ones((1, 1), np.float32)
    while len(h) < dim:
        h = np.block([[h, h], [h, -h]])
    return (h / np.sqrt(dim)).astype(np.float32)


def rotated(encode, dim):
    h = hadamard(dim)
    return lambda x: encode(x @ h) @ h


def per_channel(x, bits, page=64):
    """KIVI's layout for keys: one scale per channel and page of tokens."""
    out = np.empty_like(x)
    for start in range(0, len(x), page):
        part = np.moveaxis(x[start : start + page], 0, -1)
        out[start : start + page] = np.moveaxis(affine(np.ascontiguousarray(part), bits), -1, 0)
    return out


def static_channel(x, bits, span, group=None):
    """Keys divided by a fixed per-channel span before the row is encoded (SmoothAttention's scaling, folded into Q)."""
    return affine(x / span, bits, group) * span


def blocks_of_32(x, block=32):
    """Activations: 8 bits, symmetric per block of 32."""
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, block)
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return (np.rint(x / np.maximum(scale, 1e-30)) * scale).astype(np.float32).reshape(shape)


def two_terms(x):
    """Activations as the sum of two 8-bit blocks, the second holding what the first left: twice the products."""
    first = blocks_of_32(x)
    return first + blocks_of_32(x - first)


def spans(model, ids, alpha=0.5):
    """Per layer: max |K| over tokens to the power alpha, the larger of a rotary pair for both."""
    found = {}

    def look(layer, k, v):
        peak = np.abs(k).max(axis=0)
        pairs = peak.reshape(len(peak), -1, 2) if model.arch == "llama" else None
        if pairs is not None:
            peak = np.repeat(pairs.max(axis=-1), 2, axis=-1)
        else:
            peak = np.tile(np.maximum(*np.split(peak, 2, axis=-1)), 2)
        found[layer] = np.maximum(peak, 1e-3) ** alpha
        return k, v

    model.hidden(ids, kv=look)
    return found


def means(model, ids):
    found = {}

    def look(layer, k, v):
        found[layer] = k.mean(axis=0)
        return k, v

    model.hidden(ids, kv=look)
    return found


def variants(model, ids):
    same, d = lambda x: x, model.dim
    both = lambda k_code, v_code=None: lambda layer, k, v: (k_code(k), (v_code or k_code)(v))
    span, mean = spans(model, ids), means(model, ids)
    a4 = lambda bits: lambda x: affine_a4(x, bits)
    row = lambda bits, group=None: lambda x: affine(x, bits, group)
    best = lambda group=None: lambda x: affine_best(x, 4, group)
    int8 = {"activations": lambda site, x: blocks_of_32(x)}
    return {
        "int8 activations": int8,
        "int8 activations, blocks of 16": {"activations": lambda site, x: blocks_of_32(x, 16)},
        "int8 activations, two terms": {"activations": lambda site, x: two_terms(x)},
        "kv16": {"kv": both(half)},
        "kv8 row": {"kv": both(a4(8))},
        "kv8 K and V rotated": {"kv": both(rotated(row(8), d))},
        "kv8 row + int8": {"kv": both(a4(8)), **int8},
        "kv4 row (A4)": {"kv": both(a4(4))},
        "kv4 row (scale, min)": {"kv": both(row(4))},
        "kv4 row, keys only": {"kv": both(row(4), same)},
        "kv4 row, values only": {"kv": both(same, row(4))},
        "kv4 row best range": {"kv": both(best())},
        "kv4 groups of 32": {"kv": both(row(4, 32))},
        "kv4 groups of 32 best range": {"kv": both(best(32))},
        "kv4 groups of 16": {"kv": both(row(4, 16))},
        "kv4 K rotated": {"kv": both(rotated(row(4), d), row(4))},
        "kv4 K and V rotated": {"kv": both(rotated(row(4), d), rotated(row(4), d))},
        "kv4 K and V rotated best range": {"kv": both(rotated(best(), d), rotated(best(), d))},
        "kv4 K and V rotated, groups of 32": {"kv": both(rotated(row(4, 32), d), rotated(row(4, 32), d))},
        "kv4 K rotated in groups of 32": {"kv": both(rotated(row(4, 32), d), row(4))},
        "kv4 K per channel and page": {"kv": both(lambda x: per_channel(x, 4), row(4))},
        "kv4 K smoothed 0.5": {"kv": lambda layer, k, v: (static_channel(k, 4, span[layer]), affine(v, 4))},
        "kv4 K minus mean": {"kv": lambda layer, k, v: (affine(k - mean[layer], 4) + mean[layer], affine(v, 4))},
        "kv4 K minus mean, rotated, V rotated best range": {
            "kv": lambda layer, k, v: (
                rotated(best(), d)(k - mean[layer]) + mean[layer], rotated(best(), d)(v))},
        "kv8 keys, kv4 values": {"kv": both(row(8), row(4))},
        "kv4 row (A4) + int8": {"kv": both(a4(4)), **int8},
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("ids")
    arguments.add_argument("--only", default="", help="run variants whose name holds this text")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    with open(options.ids, encoding="utf-8") as file:
        ids = json.load(file)
    model = Model(options.model)
    base = model.stats(ids)
    rows = []
    for name, hooks in variants(model, ids).items():
        if options.only not in name:
            continue
        stats = model.stats(ids, **hooks)
        difference = stats["nll"] - base["nll"]
        clear = base["gap"] > 0.1
        rows.append({
            "variant": name,
            "nll_rise": float(difference.mean()),
            "mean_abs": float(np.abs(difference).mean()),
            "flips": float((stats["argmax"] != base["argmax"])[clear].mean()),
        })
        if not options.json:
            r = rows[-1]
            print(f"{name:50s} nll {r['nll_rise']:+.4f}  |d| {r['mean_abs']:.4f}  flips {r['flips']:.3f}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

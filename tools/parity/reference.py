"""An independent fp32 forward pass of a GGUF model, in numpy, written from the architectures' definitions.

It is the yardstick of the engine's parity tests, so it favours plainness over speed: whole prompt at once, full score
matrices, weights dequantized by the `gguf` package, matrix products in float32, norms, softmax and RoPE angles in float64.
Families: llama, gemma3, qwen2, qwen3. Needs numpy and gguf.

    from reference import Model
    model = Model("model.gguf")
    hidden = model.hidden(ids)              # [n, width], after the final norm
    stats = model.stats(ids)                # nll, argmax and top-2 gap of every predicted token

`Model.hidden` takes two hooks for studies: `activations(site, x)` is applied to the input of every linear layer (site:
qkv, output, ffn, down or head) and `kv(layer, k, v)` to keys (after RoPE) and values [n, heads, dim] before attention reads them.
"""
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


def rms_norm(x, weight, eps):
    wide = x.astype(np.float64)
    scale = 1.0 / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return (wide * scale * weight).astype(np.float32)


def silu(x):
    wide = x.astype(np.float64)
    return (wide / (1.0 + np.exp(-wide))).astype(np.float32)


def gelu_tanh(x):
    wide = x.astype(np.float64)
    return (0.5 * wide * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (wide + 0.044715 * wide**3)))).astype(np.float32)


def softmax(scores):
    wide = scores.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    np.exp(wide, out=wide)
    return (wide / wide.sum(axis=-1, keepdims=True)).astype(np.float32)


def rope_tables(count, dim, base, freq_factors=None, linear_factor=1.0):
    """cos and sin of position x frequency, [count, dim / 2]."""
    freq = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    if freq_factors is not None:
        freq = freq / freq_factors
    angle = np.arange(count, dtype=np.float64)[:, None] * freq / linear_factor
    return np.cos(angle), np.sin(angle)


def rotate(x, tables, adjacent):
    """x [n, heads, dim]. Pairs are (2i, 2i + 1) if `adjacent` (GGUF's llama order), else (i, i + dim / 2)."""
    cos, sin = (t[:, None, :] for t in tables)
    a, b = (x[..., 0::2], x[..., 1::2]) if adjacent else np.split(x, 2, axis=-1)
    a, b = a.astype(np.float64), b.astype(np.float64)
    first, second = (a * cos - b * sin).astype(np.float32), (a * sin + b * cos).astype(np.float32)
    if adjacent:
        return np.stack([first, second], axis=-1).reshape(x.shape)
    return np.concatenate([first, second], axis=-1)


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.meta = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        self.raw = {t.name: t for t in reader.tensors}
        self.arch = self.meta["general.architecture"]
        if self.arch not in ("llama", "gemma3", "qwen2", "qwen3"):
            raise ValueError(f"architecture {self.arch} has no reference here")
        self.layers = self.get("block_count")
        self.width = self.get("embedding_length")
        self.heads = self.get("attention.head_count")
        self.kv_heads = self.get("attention.head_count_kv", self.heads)
        self.dim = self.get("attention.key_length", self.width // self.heads)
        self.eps = self.get("attention.layer_norm_rms_epsilon")
        self.base = self.get("rope.freq_base", 10000.0)
        self.gemma = self.arch == "gemma3"
        self.cache = {}

    def get(self, name, default=None):
        value = self.meta.get(f"{self.arch}.{name}", default)
        if value is None:
            raise KeyError(f"{self.arch}.{name} is missing")
        return value

    def has(self, name):
        return name in self.raw

    def tensor(self, name):
        """Dequantized, float32, row-major [out, in]."""
        if name not in self.cache:
            t = self.raw[name]
            self.cache[name] = dequantize(t.data, t.tensor_type).astype(np.float32, copy=False)
        return self.cache[name]

    def linear(self, x, name):
        y = x @ self.tensor(name + ".weight").T
        return y + self.tensor(name + ".bias") if self.has(name + ".bias") else y

    def window(self, layer):
        """Keys a query sees, itself included; 0 = all. Gemma 3: every sixth layer is global."""
        return 0 if not self.gemma or (layer + 1) % 6 == 0 else self.get("attention.sliding_window")

    def tables(self, layer, count):
        if self.gemma and self.window(layer):
            return rope_tables(count, self.dim, 10000.0)
        factors = self.tensor("rope_freqs.weight") if self.has("rope_freqs.weight") else None
        linear = self.get("rope.scaling.factor", 1.0) if self.get("rope.scaling.type", "none") == "linear" else 1.0
        return rope_tables(count, self.dim, self.base, factors, linear)

    def attention(self, layer, x, activations, kv):
        n, prefix = len(x), f"blk.{layer}."
        x = activations("qkv", x)
        q = self.linear(x, prefix + "attn_q").reshape(n, self.heads, self.dim)
        k = self.linear(x, prefix + "attn_k").reshape(n, self.kv_heads, self.dim)
        v = self.linear(x, prefix + "attn_v").reshape(n, self.kv_heads, self.dim)
        if self.has(prefix + "attn_q_norm.weight"):
            q = rms_norm(q, self.tensor(prefix + "attn_q_norm.weight"), self.eps)
            k = rms_norm(k, self.tensor(prefix + "attn_k_norm.weight"), self.eps)
        tables = self.tables(layer, n)
        q, k = (rotate(z, tables, adjacent=self.arch == "llama") for z in (q, k))
        k, v = kv(layer, k, v)
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]
        window = self.window(layer)
        hidden = (distance < 0) | (distance >= window) if window else distance < 0
        out = np.empty((n, self.heads, self.dim), np.float32)
        for h in range(self.heads):
            g = h * self.kv_heads // self.heads
            scores = (q[:, h] @ k[:, g].T) * np.float32(self.dim**-0.5)
            scores[hidden] = -np.inf
            out[:, h] = softmax(scores) @ v[:, g]
        return self.linear(activations("output", out.reshape(n, -1)), prefix + "attn_output")

    def ffn(self, layer, x, activations):
        prefix = f"blk.{layer}."
        x = activations("ffn", x)
        gate = self.linear(x, prefix + "ffn_gate")
        gate = gelu_tanh(gate) if self.gemma else silu(gate)
        return self.linear(activations("down", gate * self.linear(x, prefix + "ffn_up")), prefix + "ffn_down")

    def hidden(self, ids, activations=lambda site, x: x, kv=lambda layer, k, v: (k, v)):
        x = self.embed(ids)
        for layer in range(self.layers):
            prefix = f"blk.{layer}."
            norm = lambda name, z: rms_norm(z, self.tensor(prefix + name + ".weight"), self.eps)
            y = self.attention(layer, norm("attn_norm", x), activations, kv)
            x = x + (norm("post_attention_norm", y) if self.gemma else y)
            y = self.ffn(layer, norm("ffn_norm", x), activations)
            x = x + (norm("post_ffw_norm", y) if self.gemma else y)
        return rms_norm(x, self.tensor("output_norm.weight"), self.eps)

    def embed(self, ids):
        t = self.raw["token_embd.weight"]
        x = dequantize(t.data[np.asarray(ids)], t.tensor_type).astype(np.float32)
        return x * np.float32(self.width**0.5) if self.gemma else x

    def logits(self, hidden):
        return hidden @ self.tensor("output.weight" if self.has("output.weight") else "token_embd.weight").T

    def stats(self, ids, activations=lambda site, x: x, kv=lambda layer, k, v: (k, v)):
        """What the model says of ids[1:]: nll (float32), argmax (int32), gap between its two best logits (float32)."""
        hidden = self.hidden(ids, activations, kv)[:-1]
        nll, argmax, gap = [], [], []
        for start in range(0, len(hidden), 256):
            scores = self.logits(activations("head", hidden[start : start + 256])).astype(np.float64)
            target = np.asarray(ids[1 + start : 1 + start + len(scores)])
            top = scores.max(axis=-1)
            total = top + np.log(np.exp(scores - top[:, None]).sum(axis=-1))
            nll.append(total - scores[np.arange(len(scores)), target])
            argmax.append(scores.argmax(axis=-1))
            two = np.partition(scores, -2, axis=-1)[:, -2:]
            gap.append(two[:, 1] - two[:, 0])
        join = lambda parts, dtype: np.concatenate(parts).astype(dtype)
        return {"nll": join(nll, np.float32), "argmax": join(argmax, np.int32), "gap": join(gap, np.float32)}

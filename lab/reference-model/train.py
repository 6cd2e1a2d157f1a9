#!/usr/bin/env python3
"""Trains one stage of the reference model on the examples of data.py.

    train.py --stage 1 --data TOK --out CKPT/1
    train.py --stage 2 --data TOK --out CKPT/2 --init CKPT/1

A step is 131072 tokens as 131072 / L sequences of one length L: all but attention has one shape and is compiled once, and the
curriculum of lengths is only a change of L. A stage is a list of phases, each a mixture of lengths for so many seconds: time, not
steps, is what the schedule counts, so a faster card trains longer. Muon for matrices, AdamW for the embedding and gains, a fresh
optimiser for each stage. Processes write the examples meanwhile; `data-wait` in the log says how long the card waited for them.
--scale 0.1 takes a tenth of every phase: a trial of the recipe, not of the model.
"""

import argparse
import dataclasses
import multiprocessing
import os
import queue
import threading
import time

import numpy as np

STEP_TOKENS = 131072
CLASSES = 20
CLASS_NAMES = {1: "text", 8: "num", 9: "uuid", 10: "word", 11: "rep", 12: "vt", 13: "kv", 14: "pk", 15: "mqar", 16: "copy"}
PROBE_LENGTHS = (1024, 4096, 16384, 32768, 65536, 131072)
LOG_SECONDS = 40


@dataclasses.dataclass
class Phase:
    lengths: dict  # length: share of the steps
    seconds: float


@dataclasses.dataclass
class Stage:
    phases: list
    rates: tuple  # Muon's learning rate at the beginning and the end
    text_weight: float = 0.3  # of book text in the loss
    mix: dict = None  # shares of the kinds of examples; None: data.Gen.MIX


STAGES = {
    1: Stage([Phase({1024: 1}, 90), Phase({1024: 0.4, 4096: 0.6}, 100), Phase({4096: 0.5, 16384: 0.5}, 120)], (0.02, 0.02)),
    2: Stage(
        [
            Phase({16384: 0.4, 32768: 0.6}, 90),
            Phase({65536: 0.7, 16384: 0.3}, 150),
            Phase({131072: 0.6, 32768: 0.25, 4096: 0.15}, 230),
        ],
        (0.02, 0.006),
    ),
    3: Stage(
        [Phase({131072: 0.4, 32768: 0.25, 8192: 0.2, 2048: 0.15}, 195)],
        (0.006, 0.0002),
        text_weight=0.5,
        mix=dict(packed=0.32, single=0.17, vtp=0.13, vts=0.05, kvp=0.05, kvs=0.02, pk=0.05, mqar=0.05, copy=0.08, lm=0.08),
    ),
}


# ---- examples


def write_examples(data, seed, current_phase, phases, out, mix):
    """Runs in a process of its own: batches of the current phase's lengths."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from data import Gen

    generator, random = Gen(data, seed), np.random.default_rng(seed + 7)
    if mix:
        generator.MIX = mix
    while (at := current_phase.value) < len(phases):
        shares = np.array(list(phases[at].lengths.values()), dtype=float)
        length = int(random.choice(list(phases[at].lengths), p=shares / shares.sum()))
        out.put((at, length, *generator.batch(STEP_TOKENS // length, length)))


class Examples:
    """Batches (length, tokens, classes) in pinned memory, made by `workers` processes ahead of time."""

    def __init__(self, data, seed, phases, workers, mix):
        context = multiprocessing.get_context("spawn")
        self.phase = context.Value("i", 0)
        self.count = len(phases)
        self.made = context.Queue(maxsize=24)
        self.ready = queue.Queue(4)
        self.workers = [
            context.Process(target=write_examples, args=(data, 1000 * seed + i + 1, self.phase, phases, self.made, mix), daemon=True)
            for i in range(workers)
        ]
        for worker in self.workers:
            worker.start()
        threading.Thread(target=self._pin, daemon=True).start()

    def _pin(self):
        import torch

        while self.phase.value < self.count:
            try:
                at, length, *arrays = self.made.get(timeout=5)
            except queue.Empty:
                continue
            if at == self.phase.value:  # not left over from the phase before
                self.ready.put((length, *(torch.from_numpy(a.astype(np.int64)).pin_memory() for a in arrays)))

    def next(self, lengths):
        while True:
            batch = self.ready.get()
            if batch[0] in lengths:
                return batch

    def close(self):
        self.phase.value = self.count
        for worker in self.workers:
            worker.terminate()


# ---- the model on the card


def fastest_attention(device):
    """(backend, whether it takes grouped heads) that is fastest forwards and backwards here."""
    import torch
    from torch.nn.attention import SDPBackend

    from model import HEAD_DIM, KV_HEADS, QUERY_HEADS

    length, times = 16384, {}
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        for grouped in (True, False):
            inputs = [
                torch.randn(STEP_TOKENS, heads, HEAD_DIM, device=device, dtype=torch.bfloat16, requires_grad=True)
                for heads in (QUERY_HEADS, KV_HEADS, KV_HEADS)
            ]
            try:
                for repetition in range(3):
                    if repetition == 1:
                        torch.cuda.synchronize()
                        begin = time.time()
                    out = attend(*inputs, length, backend, grouped)
                    out.backward(torch.ones_like(out))
                torch.cuda.synchronize()
                times[backend, grouped] = (time.time() - begin) / 2
            except RuntimeError as error:
                print("not here:", backend.name, "grouped" if grouped else "expanded", str(error)[:100])
    best = min(times, key=times.get)
    told = {f"{backend.name}{'/grouped' if grouped else ''}": round(1e3 * t, 1) for (backend, grouped), t in times.items()}
    print("attention of a layer, ms forwards and backwards at 16K:", told, "->", best[0].name, flush=True)
    return best


def attend(q, k, v, length, backend, grouped):
    import torch.nn.functional as F
    from torch.nn.attention import sdpa_kernel

    rows = q.shape[0]
    q, k, v = (x.view(rows // length, length, -1, x.shape[-1]).transpose(1, 2) for x in (q, k, v))
    if not grouped:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    with sdpa_kernel(backend):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    return out.transpose(1, 2).reshape(rows, -1)


class Forward:
    """Loss of every token, and whether the model held it most likely."""

    def __init__(self, parameters, device):
        import torch

        import model

        self.p, self.model, self.torch = parameters, model, torch
        self.cosines, self.sines = model.rope_tables(STEP_TOKENS, device)
        self.qkv = torch.compile(model.qkv, dynamic=False)
        self.behind = torch.compile(model.behind_attention, dynamic=False)
        self.judge = torch.compile(self._judge, dynamic=False)
        self.backend, self.grouped = fastest_attention(device)

    def _judge(self, x, gain, embedding, targets):
        scores = self.model.logits(x, gain, embedding)
        nll = self.torch.logsumexp(scores, -1) - scores.gather(1, targets[:, None])[:, 0]
        return nll, scores.argmax(-1) == targets

    def __call__(self, tokens, targets, length):
        p, copies = self.p, STEP_TOKENS // length
        x = self.torch.nn.functional.embedding(tokens.view(-1), p["emb"]).to(self.torch.bfloat16)
        cosines, sines = self.cosines[:length].repeat(copies, 1), self.sines[:length].repeat(copies, 1)
        layers = zip(*(p[name].unbind(0) for name in ("ln1", "wq", "wk", "wv", "wo", "ln2", "wg", "wu", "wd")))
        for ln1, wq, wk, wv, *rest in layers:
            q, k, v = self.qkv(x, ln1, wq, wk, wv, cosines, sines)
            x = self.behind(x, attend(q, k, v, length, self.backend, self.grouped), *rest)
        parts = [self.judge(a, p["fn"], p["emb"], b) for a, b in zip(x.chunk(4), targets.view(-1).chunk(4))]
        return tuple(self.torch.cat(part) for part in zip(*parts))


class Optimiser:
    """Muon (momentum .95, five Newton-Schulz steps, weight decay) for matrices, AdamW for embedding and gains."""

    MOMENTUM, DECAY, ADAM_SHARE = 0.95, 0.05, 0.15
    GROUPS = (("wq", "wo"), ("wk", "wv"), ("wg", "wu", "wd"))  # of one shape, some of them transposed
    TRANSPOSED = ("wg", "wu")

    def __init__(self, parameters):
        import torch

        from model import MATRICES

        self.p, self.torch, self.matrices = parameters, torch, MATRICES
        self.momentum = {name: torch.zeros_like(parameters[name]) for name in MATRICES}
        gains = [parameters[name] for name in ("ln1", "ln2", "fn")]
        self.adam = torch.optim.AdamW(
            [{"params": [parameters["emb"]], "weight_decay": 0.01}, {"params": gains, "weight_decay": 0.0}],
            lr=1e-3, betas=(0.9, 0.95), fused=True)
        self.orthogonal = torch.compile(self._orthogonal, dynamic=False)

    def _orthogonal(self, gradient):
        x = gradient.to(self.torch.bfloat16)
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(5):
            a = x @ x.mT
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
        return x.float()

    def step(self, rate):
        with self.torch.no_grad():
            self._muon(rate)
        for group in self.adam.param_groups:
            group["lr"] = rate * self.ADAM_SHARE
        self.adam.step()
        for value in self.p.values():
            value.grad = None

    def _muon(self, rate):
        updates = {}
        for name in self.matrices:
            gradient = self.p[name].grad
            self.momentum[name].lerp_(gradient, 1 - self.MOMENTUM)
            updates[name] = gradient.lerp(self.momentum[name], self.MOMENTUM)
        for names in self.GROUPS:
            stacked = self.torch.cat([updates[n].mT if n in self.TRANSPOSED else updates[n] for n in names])
            for name, update in zip(names, self.orthogonal(stacked).split(len(stacked) // len(names))):
                if name in self.TRANSPOSED:
                    update = update.mT
                self.p[name].mul_(1 - rate * self.DECAY)
                self.p[name].add_(update, alpha=-rate * max(1, update.shape[1] / update.shape[2]) ** 0.5)


def class_weights(text_weight, device, answer=4.0):
    import torch

    weights = torch.zeros(CLASSES, device=device)
    weights[1], weights[2], weights[3], weights[4] = text_weight, 0.15, 0.02, 0.03
    weights[8:] = answer
    weights[11], weights[12], weights[15], weights[16] = 1.0, answer * 0.75, answer / 2, answer / 4
    return weights


class Tally:
    """By length and class: tokens, hits, and the sum of their losses."""

    def __init__(self):
        self.sums = {}

    def add(self, length, classes, nll, hits):
        import torch

        one_hot = torch.nn.functional.one_hot(classes, CLASSES).float()
        rows = torch.stack([torch.ones_like(nll), hits.float(), nll.detach()]) @ one_hot
        self.sums[length] = self.sums.get(length, 0) + rows

    def report(self, tag):
        for length in sorted(self.sums):
            count, hits, nll = self.sums[length].cpu().numpy()
            n = np.maximum(count, 1)
            accuracy = " ".join(f"{CLASS_NAMES[k]} {100 * hits[k] / n[k]:.1f}" for k in CLASS_NAMES if k > 1 and count[k] > 0)
            print(f"{tag} L={length:6d} text nll {nll[1] / n[1]:.3f} | acc {accuracy}", flush=True)
        self.sums.clear()


def shifted(tokens, classes):
    """What each token is to foresee, and its class; nothing behind the last one."""
    import torch

    targets, behind = torch.roll(tokens, -1, 1), torch.roll(classes, -1, 1)
    behind[:, -1] = 0
    return targets, behind.reshape(-1)


def train(options, stage):
    import torch

    import model

    begin, device = time.time(), "cuda"
    phases = [Phase(phase.lengths, phase.seconds * options.scale) for phase in stage.phases]
    examples = Examples(options.data, options.stage, phases, options.workers, stage.mix)
    torch.manual_seed(options.stage)
    torch.backends.cuda.matmul.allow_tf32 = True
    start = model.read_checkpoint(options.init) if options.init else model.new_parameters()
    parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}
    forward, optimiser = Forward(parameters, device), Optimiser(parameters)
    weights, tally = class_weights(stage.text_weight, device), Tally()
    whole, step, before, losses, logged = sum(p.seconds for p in phases), 0, 0.0, [], time.time()
    for at, phase in enumerate(phases):
        examples.phase.value = at
        phase_begin, first_step, waited = time.time(), step, 0.0
        while step == first_step or time.time() - phase_begin < phase.seconds:
            asked = time.time()
            length, *arrays = examples.next(phase.lengths)
            waited += time.time() - asked
            tokens, classes = (array.to(device, non_blocking=True) for array in arrays)
            targets, classes = shifted(tokens, classes)
            nll, hits = forward(tokens, targets, length)
            weight = weights[classes]
            loss = (nll * weight).sum() / weight.sum()
            loss.backward()
            done = min(1.0, (before + time.time() - phase_begin) / whole)
            rate = (stage.rates[0] + (stage.rates[1] - stage.rates[0]) * done) * min(1, (step + 1) / options.warm)
            optimiser.step(rate)
            with torch.no_grad():
                tally.add(length, classes, nll, hits)
            losses.append(loss.detach())
            step += 1
            if at == 0 and step == 1:
                torch.cuda.synchronize()
                phase_begin = time.time()  # what compiling takes is not training
            if step % 4 == 0:
                torch.cuda.synchronize()
            if time.time() - logged > LOG_SECONDS:
                logged = time.time()
                print(f"[{logged - begin:5.0f} s] step {step}, {step * STEP_TOKENS / 1e6:.0f} Mtok, rate {rate:.4f}, "
                      f"loss {torch.stack(losses[-50:]).mean():.3f}, data-wait {waited:.1f} s, "
                      f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)
                tally.report("   ")
        torch.cuda.synchronize()
        before += phase.seconds
        took, steps = max(1e-9, time.time() - phase_begin), step - first_step
        print(f"phase {at}: {steps} steps, {took:.1f} s, {steps * STEP_TOKENS / took / 1e6:.2f} Mtok/s, "
              f"loss {torch.stack(losses[-50:]).mean():.3f}, data-wait {waited:.1f} s", flush=True)
        tally.report("   ")
        model.write_checkpoint(options.out, parameters)
    examples.close()
    if options.probe:
        probe(options, forward, device)
    print(f"stage {options.stage}: {step} steps, {step * STEP_TOKENS} tokens, {time.time() - begin:.0f} s", flush=True)


def probe(options, forward, device):
    """Fresh examples of every length with words that training never drew, forward only."""
    import torch

    from data import Gen

    generator, tally = Gen(options.data, 987654 + options.stage, split="eval"), Tally()
    with torch.no_grad():
        for length in PROBE_LENGTHS:
            for _ in range(options.probe):
                arrays = (torch.from_numpy(a.astype(np.int64)).to(device) for a in generator.batch(STEP_TOKENS // length, length))
                tokens, classes = arrays
                targets, classes = shifted(tokens, classes)
                tally.add(length, classes, *forward(tokens, targets, length))
    tally.report("probe")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=STAGES, required=True)
    parser.add_argument("--data", required=True, help="what books.py wrote")
    parser.add_argument("--out", required=True, help="folder of the checkpoint")
    parser.add_argument("--init", help="folder of the checkpoint to begin with")
    parser.add_argument("--scale", type=float, default=1.0, help="of every phase's time")
    parser.add_argument("--workers", type=int, default=14, help="processes that write examples")
    parser.add_argument("--warm", type=int, default=40, help="steps until the rate is reached")
    parser.add_argument("--probe", type=int, default=0, help="batches of fresh examples at every length when all is done")
    options = parser.parse_args()
    train(options, STAGES[options.stage])


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What the reference model can do: RULER's prompts at every length, loss by position, which heads retrieve, what streaming costs.

    evaluate.py --data TOK --checkpoint CKPT/3 --novel middlemarch.txt --out evaluation.json

Prompts are the published texts, tokenised whole; the haystack is a novel that training did not see, keys are made of the fifth of
the words that it did not draw; greedy decoding with a cache in bf16. --parts: lm (loss by position), heads and duo (together), tasks.
--seconds ends the tasks early. Without a card, prompts.py writes the prompts for `loci eval`.
"""

import argparse
import json
import multiprocessing
import random
import re
import time
import uuid

import numpy as np

from books import clean, collapse
from data import HEAD1, HEADN, NOISE, PK_HEAD, VT_HEAD

TASKS = ("niah_single_1 niah_single_2 niah_single_3 niah_multikey_1 niah_multikey_2 niah_multikey_3 niah_multivalue niah_multiquery "
         "vt passkey kv").split()
NEW = dict(multi=120, uuid=60, vt=60, passkey=12, kv=60)  # room for an answer
POSITIONS = (0, 1024, 4096, 16384, 32768, 65536, 131071)
SINKS, WINDOW = 4, 256  # of a streaming head
END = 1
G = {}  # of this process: tokenizer, sentences and words


def init(d, mm=None):
    """Without a novel, for the tasks whose haystack is not an essay."""
    from tokenizers import Tokenizer

    G["tok"] = Tokenizer.from_file(d + "/tokenizer.json")
    if mm is not None:
        t = collapse(clean(open(mm, encoding="utf-8").read()))
        G["sent"] = re.split(r"(?<=[.?!]) ", t)
        n = [len(e.ids) for e in G["tok"].encode_batch([" " + s for s in G["sent"]], add_special_tokens=False)]
        G["cum"] = np.concatenate([[0], np.cumsum(n)])
    w = json.load(open(d + "/words.json"))
    G["adj"] = w["adj"][4::5]
    G["noun"] = w["noun"][4::5]


def ntok(s):
    return len(G["tok"].encode(s, add_special_tokens=False).ids)


def join(l):
    return l[0] if len(l) == 1 else ", ".join(l[:-1]) + ", and " + l[-1]


def prompt(job):
    """The text of a prompt, its answers and the tokens that are left for the model's."""
    task, L, i, n = job
    r = random.Random(f"{task}/{L}/{i}")
    depth = i / max(1, n - 1)
    word = lambda: r.choice(G["adj"]) + "-" + r.choice(G["noun"])
    num = lambda k=7: str(r.randint(10 ** (k - 1), 10**k - 1))
    uu = lambda: str(uuid.UUID(int=r.getrandbits(128), version=4))

    def essay(budget, ins):  # ins: [(depth, sentence)]
        c = G["cum"]
        s = int(np.searchsorted(c, r.random() * max(1, c[-1] - budget - 100)))
        e = int(np.searchsorted(c, c[s] + budget, side="right")) - 1
        sents = G["sent"][s:e]
        out = list(sents)
        for d, x in sorted(ins, key=lambda z: -z[0]):
            out.insert(int(d * len(sents)), x)
        return " ".join(out)

    def lines(budget, unit, ins, sep="\n"):
        k = max(1, budget // (ntok(unit + sep)))
        out = [unit] * k
        pos = sorted([(int(d * k), j, x) for j, (d, x) in enumerate(ins)], reverse=True)
        for p, _, x in pos:
            out.insert(p, x)
        return sep.join(out)

    if task.startswith("niah"):
        t = "uuid" if task in ("niah_single_3", "niah_multikey_3") else "number"
        kt = uu if task == "niah_multikey_3" else word
        v = uu if t == "uuid" else num
        nk = 4 if task in ("niah_multikey_1", "niah_multiquery") else 1
        nv = 4 if task == "niah_multivalue" else 1
        nq = 4 if task == "niah_multiquery" else 1
        keys = [kt() for _ in range(nk)]
        vals = [[v() for _ in range(nv)] for _ in keys]
        S = lambda k, x: f"One of the special magic {t}s for {k} is: {x}."
        ins = [(r.choice(range(40)) / 40, S(k, x)) for k, vs in zip(keys, vals) for x in vs]
        if nk * nv == 1:
            ins = [(depth * 0.999, ins[0][1])]
        q = keys[:nq]
        many = nq * nv > 1
        new = NEW["multi"] if many else NEW["uuid"] if t == "uuid" else 16
        head = (HEADN if many else HEAD1).format(t=t)
        tail = (
            f"\nWhat are all the special magic {t}s for {join(q)} mentioned in the provided text? The special magic {t}s for {join(q)} mentioned in the provided text are"
            if many
            else f"\nWhat is the special magic {t} for {q[0]} mentioned in the provided text? The special magic {t} for {q[0]} mentioned in the provided text is"
        )
        budget = L - new - 1 - ntok(head) - ntok(tail) - sum(ntok(" " + x) + 1 for _, x in ins) - 8
        if task == "niah_single_1":
            body = lines(budget, NOISE, ins)
        elif task in ("niah_multikey_2", "niah_multikey_3"):
            u = [S(kt(), v()) for _ in range(budget // 20 + 1)]
            c = np.cumsum([ntok(x + "\n") for x in u])
            u = u[: int(np.searchsorted(c, budget))]
            u.insert(int(depth * len(u)), ins[0][1])
            body = "\n".join(u)
        else:
            body = essay(budget, ins)
        p = head + body + tail
        ref = [x for k, vs in zip(keys, vals) if k in q for x in vs]
    elif task == "vt":

        def vt(n, chars, value):
            names = []
            while len(names) < 5:
                x = "".join(r.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(chars))
                names += [x] if x not in names else []
            st = [f"VAR {names[0]} = {value}"] + [f"VAR {names[j]} = VAR {names[j-1]} " for j in range(1, 5)]
            ds = sorted(r.random() for _ in st)
            q = f"Question: Find all variables that are assigned the value {value} in the text above. Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the value {value}, they are: "
            fix = ntok(VT_HEAD) + sum(ntok(x + "\n") for x in st) + ntok("\n" + q)
            return VT_HEAD + lines(n - fix, NOISE, list(zip(ds, st))) + "\n" + q, names

        ex, en = vt(480, 3, num(5))
        new = NEW["vt"]
        exs = ex + " ".join(en) + "\n"
        p, ref = vt(L - new - ntok(exs) - 2, 5, num(5))
        p = exs + p
    elif task == "passkey":
        k = str(r.randint(1, 50000))
        new = 12
        a = f"The pass key is {k}. Remember it. {k} is the pass key."
        q = "What is the pass key? The pass key is"
        n = L - new - 12 - ntok(PK_HEAD + a + "\n" + q)
        g = (NOISE + " ") * (n // ntok(" " + NOISE))
        cut = int(len(g) * depth)
        p = PK_HEAD + g[:cut] + "\n" + a + "\n" + g[cut:] + "\n" + q
        ref = [k]
    elif task == "kv":
        new = NEW["kv"]
        head = "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n"
        n = int((L - new - 120) / 75)
        pr = [(uu(), uu()) for _ in range(n)]
        c = np.cumsum([ntok(f'"{a}": "{b}", ') for a, b in pr])
        pr = pr[: int(np.searchsorted(c, L - new - 110))]
        j = min(int(depth * len(pr)), len(pr) - 1)
        p = (
            head
            + "{"
            + ", ".join(f'"{a}": "{b}"' for a, b in pr)
            + "}\n"
            + f'\nKey: "{pr[j][0]}"\nThe value associated with the specified key is: '
        )
        ref = [pr[j][1]]
    return p, ref, new


def build(job):
    task, L, i, _ = job
    p, ref, new = prompt(job)
    ids = G["tok"].encode(p).ids
    assert len(ids) + new <= L + 2 and len(ids) + new > L * 0.95, (task, L, len(ids))
    return task, L, i, np.array(ids, np.uint16), ref, new


def score(task, out, ref):
    if task == "passkey":
        m = re.search(r"\d+", out)
        return float(bool(m) and m.group() == ref[0])
    if task == "kv":
        return float(ref[0] in out)
    o = out.lower()
    return float(np.mean([x.lower() in o for x in ref]))


# ---- the model with a cache


class Runner:
    def __init__(self, checkpoint, device="cuda"):
        import torch

        import model

        torch.set_grad_enabled(False)
        self.torch, self.model, self.device = torch, model, device
        self.p = {name: value.to(torch.bfloat16).to(device) for name, value in model.read_checkpoint(checkpoint).items()}
        self.cosines, self.sines = model.rope_tables(model.CONTEXT + 512, device)
        shape = (model.LAYERS, model.KV_HEADS, model.CONTEXT + 256, model.HEAD_DIM)
        self.keys, self.values = (torch.zeros(shape, device=device, dtype=torch.bfloat16) for _ in range(2))
        self.group = model.QUERY_HEADS // model.KV_HEADS

    def tensor(self, ids):
        return self.torch.as_tensor(np.asarray(ids, dtype=np.int64), device=self.device)

    def run(self, ids, attend, first=0):
        """Rows behind the last layer. attend(layer, q, k, v) gives [tokens, QUERY_HEADS * HEAD_DIM]."""
        p, end = self.p, first + len(ids)
        x = p["emb"][ids]
        for i in range(self.model.LAYERS):
            q, k, v = self.model.qkv(x, p["ln1"][i], p["wq"][i], p["wk"][i], p["wv"][i], self.cosines[first:end], self.sines[first:end])
            x = self.model.behind_attention(x, attend(i, q, k, v), p["wo"][i], p["ln2"][i], p["wg"][i], p["wu"][i], p["wd"][i])
        return x

    def logits(self, x):
        return self.model.logits(x, self.p["fn"], self.p["emb"])

    def causal(self, q, k, v, mask=None):
        expanded = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (q, k, v))
        q, k, v = (x.transpose(0, 1)[None] for x in expanded)
        attention = self.torch.nn.functional.scaled_dot_product_attention
        out = attention(q, k, v, is_causal=True) if mask is None else attention(q, k, v, attn_mask=mask)
        return out[0].transpose(0, 1)

    def dense(self, _, q, k, v):
        return self.causal(q, k, v).flatten(1)

    def generate(self, ids, most):
        count, out = len(ids), []

        def read_prompt(i, q, k, v):
            self.keys[i, :, :count], self.values[i, :, :count] = k.transpose(0, 1), v.transpose(0, 1)
            return self.causal(q, k, v).flatten(1)

        def write(i, q, k, v):
            self.keys[i, :, count], self.values[i, :, count] = k[0], v[0]
            rows = q.view(self.model.KV_HEADS, self.group, self.model.HEAD_DIM)
            scores = (rows @ self.keys[i, :, : count + 1].transpose(1, 2)).float() / self.model.HEAD_DIM**0.5
            return (scores.softmax(-1).to(rows.dtype) @ self.values[i, :, : count + 1]).reshape(1, -1)

        token = int(self.logits(self.run(self.tensor(ids), read_prompt)[-1:]).argmax())
        while token != END:
            out.append(token)
            if len(out) >= most or G["tok"].decode([token]).endswith("\n"):
                break
            token = int(self.logits(self.run(self.tensor([token]), write, count)).argmax())
            count += 1
        return G["tok"].decode(out)


# ---- what is measured


def loss_by_position(runner, novel, windows=3):
    """Nats a token between POSITIONS, over windows of the whole context; and over short windows all through the book."""
    torch, functional = runner.torch, runner.torch.nn.functional
    ids = G["tok"].encode(collapse(clean(open(novel, encoding="utf-8").read())), add_special_tokens=False).ids
    span, sums, counts = POSITIONS[-1], np.zeros(len(POSITIONS) - 1), np.zeros(len(POSITIONS) - 1)
    for window in range(windows):
        tokens = runner.tensor([0] + ids[window * span : (window + 1) * span])
        x = runner.run(tokens, runner.dense)
        parts = zip(x[:-1].split(8192), tokens[1:].split(8192))
        nll = torch.cat([functional.cross_entropy(runner.logits(a), b, reduction="none") for a, b in parts]).double().cpu().numpy()
        for i, (low, high) in enumerate(zip(POSITIONS, POSITIONS[1:])):
            sums[i] += nll[low:high].sum()
            counts[i] += len(nll[low:high])
    short = []
    for at in range(0, windows * span - 1024, 6 * 1024):
        tokens = runner.tensor([0] + ids[at : at + 1023])
        short.append(float(functional.cross_entropy(runner.logits(runner.run(tokens, runner.dense))[:-1], tokens[1:])))
    return {"positions": POSITIONS, "nll": (sums / np.maximum(counts, 1)).tolist(), "windows_of_1024": float(np.mean(short))}


def with_answer(ids, answer):
    tail = G["tok"].encode(" " + answer, add_special_tokens=False).ids
    return np.concatenate([ids, tail]), tail


def retrieval_heads(runner, prompts):
    """By layer and query head: how often the greatest attention lies on the needle's token that is copied, and its mass there.
    Teacher forced: the right answer follows the prompt; its first token is left out."""
    torch, model = runner.torch, runner.model
    hits, mass = (torch.zeros(model.LAYERS, model.QUERY_HEADS, device=runner.device) for _ in range(2))
    rows_seen = 0
    for _, _, _, ids, answers, _ in prompts:
        whole, tail = with_answer(ids, answers[0])
        count, found = len(ids), list(map(int, ids))
        start = next(j for j in range(count - len(tail) - 40, -1, -1) if found[j : j + len(tail)] == tail)
        rows = torch.arange(count, count + len(tail) - 1, device=runner.device)
        copied = torch.arange(start + 1, start + len(tail), device=runner.device)

        def attend(i, q, k, v):
            scores = torch.einsum("rhd,nhd->hrn", q[rows].float(), k.repeat_interleave(runner.group, 1).float()) / model.HEAD_DIM**0.5
            scores.masked_fill_(torch.arange(len(k), device=runner.device)[None, None] > rows[None, :, None], -1e30)
            weights = scores.softmax(-1)
            hits[i] += (weights.argmax(-1) == copied[None]).float().sum(-1)
            mass[i] += weights.gather(-1, copied[None, :, None].expand(model.QUERY_HEADS, -1, 1))[..., 0].sum(-1)
            return runner.causal(q, k, v).flatten(1)

        runner.run(runner.tensor(whole), attend)
        rows_seen += len(tail) - 1
    return (hits / max(rows_seen, 1)).cpu().numpy(), (mass / max(rows_seen, 1)).cpu().numpy()


def streaming_check(runner, prompts, scores):
    """How often every token of the answer stays the most likely when some KV heads see SINKS and WINDOW alone."""
    torch, model = runner.torch, runner.model
    heads = [(i, h) for i in range(model.LAYERS) for h in range(model.KV_HEADS)]
    by_kv_head = scores.reshape(model.LAYERS, model.KV_HEADS, runner.group).max(-1)
    order = [divmod(int(z), model.KV_HEADS) for z in np.argsort(-by_kv_head.ravel(), kind="stable")]
    longest = max(len(prompt[3]) for prompt in prompts) + 64
    at = torch.arange(longest, device=runner.device)
    mask = (at[None] <= at[:, None]) & ((at[None] < SINKS) | (at[:, None] - at[None] < WINDOW))

    def share_right(full):
        right = {}
        for task, _, _, ids, answers, _ in prompts:
            whole, tail = with_answer(ids, answers[0])

            def attend(i, q, k, v):
                out = torch.empty_like(q)
                for chosen, limit in (([h for h in range(model.KV_HEADS) if (i, h) in full], None),
                                      ([h for h in range(model.KV_HEADS) if (i, h) not in full], mask[: len(q), : len(q)])):
                    if chosen:
                        rows = [runner.group * h + j for h in chosen for j in range(runner.group)]
                        out[:, rows] = runner.causal(q[:, rows], k[:, chosen], v[:, chosen], limit)
                return out.flatten(1)

            said = runner.logits(runner.run(runner.tensor(whole), attend)[len(ids) - 1 : -1]).argmax(-1).cpu().tolist()
            right.setdefault(task, []).append(said == tail)
        return {task: round(100 * float(np.mean(values)), 1) for task, values in right.items()}

    retrieving = {head for head in heads if by_kv_head[head] >= 0.1}
    cases = {"all": set(heads), "none": set(), "score >= 0.1": retrieving, "all but those": set(heads) - retrieving}
    cases.update({f"top {k}": set(order[:k]) for k in (1, 2, 3, 4, 6, 8, 12, 16)})
    out = {}
    for name, full in cases.items():
        out[name] = {"heads": len(full), **share_right(full)}
        print("full heads:", name, out[name], flush=True)
    return out


def tasks(runner, jobs, prompts, seconds):
    begin, scores, misses = time.time(), {}, {}
    for job, (task, length, index, ids, answers, most) in zip(jobs, prompts):
        if time.time() - begin > seconds:
            print("the time is up before", job[:3])
            break
        said = runner.generate(ids, most)
        points = score(task, said, answers)
        scores.setdefault(f"{task}/{length}", []).append(points)
        if points < 1:
            misses.setdefault(f"{task}/{length}", []).append([index, answers, said])
    out = {name: [len(values), round(100 * float(np.mean(values)), 1)] for name, values in scores.items()}
    for name, values in out.items():
        print(name, values, flush=True)
    return out, {name: values[:6] for name, values in misses.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--checkpoint", "--novel", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--lengths", default="4096,16384,32768,65536,131072")
    parser.add_argument("--single", type=int, default=40, help="prompts of each single-needle task and length")
    parser.add_argument("--prompts", type=int, default=20, help="of each other task and length")
    parser.add_argument("--seconds", type=float, default=400)
    parser.add_argument("--parts", default="lm,heads,duo,tasks")
    options = parser.parse_args()
    parts, begin = options.parts.split(","), time.time()
    counts = {task: options.single if "single" in task else options.prompts for task in TASKS}
    lengths = [int(text) for text in options.lengths.split(",")]
    jobs = [(task, length, i, counts[task]) for length in lengths for task in TASKS for i in range(counts[task])] if "tasks" in parts else []
    head_jobs = [("niah_single_2", 8192, i, 40) for i in range(40)] if {"heads", "duo"} & set(parts) else []
    duo_jobs = [("niah_single_2", 16384, (500 + i) % 24, 24) for i in range(24)] if "duo" in parts else []
    duo_jobs += [("niah_multikey_2", 16384, (500 + i) % 16, 16) for i in range(16)] if "duo" in parts else []
    init(options.data, options.novel)
    out = {}
    with multiprocessing.get_context("spawn").Pool(12, init, (options.data, options.novel)) as pool:
        made = pool.imap(build, head_jobs + duo_jobs + jobs, chunksize=2)
        runner = Runner(options.checkpoint)
        if "lm" in parts:
            out["lm"] = loss_by_position(runner, options.novel)
            print("loss by position:", out["lm"], flush=True)
        if head_jobs:
            scores, mass = retrieval_heads(runner, [next(made) for _ in head_jobs])
            out["heads"], out["head_mass"] = scores.tolist(), mass.tolist()
            print("retrieval score [layer, query head]\n", np.array2string(scores, precision=2, suppress_small=True), flush=True)
        if "duo" in parts:
            out["duo"] = streaming_check(runner, [next(made) for _ in duo_jobs], scores)
        if jobs:
            out["tasks"], out["misses"] = tasks(runner, jobs, made, options.seconds)
        pool.terminate()
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(out, file, indent=1)
    print(f"evaluated in {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()

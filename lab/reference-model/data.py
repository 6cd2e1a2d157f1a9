#!/usr/bin/env python3
"""Writes the examples that the reference model is trained on (numpy, no card).

Every sequence is an array of tokens (uint16) and one of classes (uint8): the class of a token as a target. train.py turns classes
into weights of the loss and logs the accuracy of each:
  0 ignored  1 book text  2 template  3 unpredictable (keys and values where first told)  4 noise text
  8 number answers  9 uuid answers  10 word answers  11 verbatim repeats of a needle, a key echoed in a question
  12 variable tracking  13 JSON key-value  14 passkey  15 MQAR  16 copies (random tokens, book passages)
Many needles and many questions share a context ("packed"), beside the published prompts of one question. Sequences follow from
the generator's seed.

    data.py TOK            prints samples, checks that they are tokenised as text is, measures tokens a second
"""

import os
import re
import json
import sys
import time
import uuid as _uuid
import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
HEAD1 = "A special magic {t} is hidden within the following text. Make sure to memorize it. I will quiz you about the {t} afterwards.\n"
HEADN = "Some special magic {t}s are hidden within the following text. Make sure to memorize it. I will quiz you about the {t}s afterwards.\n"
VT_HEAD = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
PK_HEAD = "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the important information there.\n"
KV_HEAD = 'Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{"'


class Gen:
    def __init__(self, d, seed, split="train"):
        from tokenizers import Tokenizer

        self.tok = Tokenizer.from_file(d + "/tokenizer.json")
        self.r = np.random.default_rng(seed)
        self.cache = {}
        w = json.load(open(d + "/words.json"))
        part = lambda l: [
            x for i, x in enumerate(l) if (i % 5 == 4) == (split != "train")
        ]  # 20 % of the words are for evaluation only
        self.adj, self.noun = part(w["adj"]), part(w["noun"])
        self.eadj = [self.enc(" " + a) for a in self.adj]
        self.enoun = [self.enc(n) for n in self.noun]
        self.dig = [self.enc(str(i))[0] for i in range(10)]
        self.sp = self.enc(" 1")[0]
        self.dash = self.enc("-")
        z = np.load(d + "/books.npz")
        self.books = z["t"]
        self.boff = z["off"]
        # sentence starts: tokens that begin a sentence (previous token ends in . ? ! and this one starts with space/newline)
        V = self.tok.get_vocab_size()
        s = [self.tok.decode([i]) for i in range(V)]
        ends = np.array([bool(re.search(r'[.?!]["\')]?$', x)) for x in s])
        beg = np.array([bool(re.match(r'^( [A-Z"\']|\n)', x)) for x in s])
        b = self.books
        self.sent = np.nonzero(ends[b[:-1]] & beg[b[1:]])[0] + 1
        self.noise_line = np.array(self.enc(NOISE + "\n"), dtype=np.uint16)
        self.noise_sp = np.array(self.enc(" " + NOISE), dtype=np.uint16)
        self.upool = []
        self.V = V

    def enc(self, s):
        v = self.cache.get(s)
        if v is None:
            v = self.cache[s] = self.tok.encode(s, add_special_tokens=False).ids
        return v

    def ri(self, a, b):
        return int(self.r.integers(a, b))  # a <= x < b

    def logu(self, a, b):
        return int(round(np.exp(self.r.uniform(np.log(a), np.log(max(a, b))))))

    # ---- atoms: token lists that start with a space (sp=True) or not
    def uu(self, sp=True):
        if not self.upool:
            raw = self.r.bytes(16 * 512)
            us = [str(_uuid.UUID(bytes=raw[i * 16 : i * 16 + 16], version=4)) for i in range(512)]
            e1 = self.tok.encode_batch([" " + u for u in us], add_special_tokens=False)
            e0 = self.tok.encode_batch(us, add_special_tokens=False)
            self.upool = [(x.ids, y.ids) for x, y in zip(e1, e0)]
        p = self.upool.pop()
        return p[0] if sp else p[1]

    def num(self, n=7):
        d = self.r.integers(0, 10, n)
        d[0] = self.ri(1, 10)
        return [self.sp] + [self.dig[i] for i in d]

    def word(self):
        return self.eadj[self.ri(0, len(self.eadj))] + self.dash + self.enoun[self.ri(0, len(self.enoun))]

    def val(self, t):
        return self.num() if t == "number" else self.uu() if t == "uuid" else self.word()

    # ---- haystacks: (tokens, classes, possible insertion points)
    def hay(self, kind, n):
        if n <= 0:
            return np.zeros(0, np.uint16), np.zeros(0, np.uint8), np.array([0])
        if kind == "noise":  # InfiniteBench / RULER form: one unit a line; landmark form: units joined by spaces
            line = self.noise_line if self.r.random() < 0.75 else self.noise_sp
            u = len(line)
            k = n // u + 1
            t = np.tile(line, k)[:n]
            return t, np.full(n, 4, np.uint8), np.arange(0, n, u)
        i0 = self.ri(0, max(1, len(self.sent) - n // 8))
        s = int(self.sent[i0])
        s = min(s, len(self.books) - n - 1)
        t = self.books[s : s + n]
        j0, j1 = np.searchsorted(self.sent, [s, s + n])
        pts = self.sent[j0:j1] - s
        if len(pts) == 0:
            pts = np.array([0])
        return t, np.ones(n, np.uint8), pts

    def weave(self, hay, ins):
        """ins: list of (depth in 0..1, order, ids, cls), inserted at the nearest sentence start."""
        t, c, pts = hay
        outi, outc = [], []
        last = 0
        for dep, ids, cls in sorted(ins, key=lambda x: x[0]):
            p = int(pts[min(int(dep * len(pts)), len(pts) - 1)]) if dep < 1 else len(t)
            p = max(p, last)
            if p > last:
                outi.append(t[last:p])
                outc.append(c[last:p])
            outi.append(np.array(ids, dtype=np.uint16))
            outc.append(np.array(cls, dtype=np.uint8))
            last = p
        outi.append(t[last:])
        outc.append(c[last:])
        return np.concatenate(outi), np.concatenate(outc)

    # ---- NIAH
    def needle(self, style, t, key, v, line):
        E = self.enc
        if style == 0:
            a, b, e = E(("One" if line else " One") + f" of the special magic {t}s for"), E(" is:"), E(".")
        elif style == 1:
            a, b, e = E(("The" if line else " The") + " special magic"), E(" number is:"), E(".")
        else:
            a, b, e = E(("The" if line else " The") + " secret of"), E(" is"), E(".")
        ids = a + key + b + v + e + (E("\n") if line else [])
        return ids, [2] * len(a) + [3] * len(key) + [2] * len(b) + [3] * len(v) + [2] * (len(e) + (1 if line else 0))

    def question(self, style, t, keys, vals):
        """official question + answer prefix + answer; keys, vals: lists"""
        E = self.enc
        cls = {"number": 8, "uuid": 9, "word": 10}[t]

        def join(l):
            o, c = [], []
            for i, x in enumerate(l):
                if i:
                    s = E(",") + (E(" and") if i == len(l) - 1 else [])
                    o += s
                    c += [0] * len(s)
                o += x
                c += [1] * len(x)
            return o, c

        k, kc = join(keys)
        v, vc = join(vals)
        many = len(vals) > 1
        T = t + ("s" if many else "")
        if style == 0:
            a = E(f"\nWhat are all the special magic {T} for" if many else f"\nWhat is the special magic {T} for")
            b = E(" mentioned in the provided text? The special magic " + T + " for")
            e = E(" mentioned in the provided text " + ("are" if many else "is"))
        elif style == 1:
            a = E("\nQuestion: What is the special magic")
            b = E(" number? Answer: The special magic")
            e = E(" number is")
        else:
            a = E("\nWhat is the secret of")
            b = E("? The secret of")
            e = E(" is")
        end = E(".")
        ids = a + k + b + k + e + v + end
        c = (
            [2] * len(a)
            + [3 if x else 2 for x in kc]
            + [2] * len(b)
            + [11 if x else 2 for x in kc]
            + [2] * len(e)
            + [cls if x else 2 for x in vc]
            + [2]
        )
        return ids, c

    def niah(self, L, packed):
        r = self.r
        E = self.enc
        x = r.random()
        kind = "book" if x < (0.5 if packed else 0.65) else "noise" if x < (0.62 if packed else 0.8) else "needle"
        t = ["number", "number", "number", "number", "uuid", "uuid", "word"][self.ri(0, 7)]
        kt = "uuid" if (t == "uuid" and r.random() < 0.5) else "word"
        style = 0 if (not packed or r.random() < 0.75) else self.ri(1, 3)
        line = kind != "book"
        nl = 60 if t == "uuid" else 25
        nl += 30 if kt == "uuid" else 0
        ql = 45 + (36 if t == "uuid" else 9) + (64 if kt == "uuid" else 0)
        if style == 1:
            ql -= 20
        if style == 2:
            ql -= 25
        if packed:
            if kind == "needle":
                frac = r.uniform(0.3, 0.75)
                nn = max(2, int(L * frac / nl))
                nq = int((L * (1 - frac) - 60) / ql)
            else:
                nn = self.logu(3, max(4, L * 0.4 / nl))
                nq = int(min(nn * 1.5, L * 0.45 / ql))
            nq = max(1, nq)
        else:
            nn = [1, 1, 4, 4][self.ri(0, 4)] if kind != "needle" else max(2, int((L - 60 - ql) / nl))
            nq = 1
        if style == 1 and t != "number":
            style = 0
        mv = r.random() < 0.12 and kind != "needle" and L > 500  # several values a key
        head = (HEADN if (packed or (nn > 1 and r.random() < 0.15)) else HEAD1).format(t=t)
        keys = [self.word() if kt == "word" else self.uu() for _ in range(nn)]
        vals = [
            [self.val(t) for _ in range(self.ri(2, 5) if (mv and (not packed or r.random() < 0.5)) else 1)] for _ in range(nn)
        ]
        nb = 1 if not packed else self.ri(1, 4)
        ends = np.sort(np.append(r.random(nb - 1), 1.0))
        ins = []
        deps = []
        for k, vs in zip(keys, vals):
            ds = np.sort(r.random(len(vs)))
            deps.append(ds[-1])
            for d, v in zip(ds, vs):
                i, c = self.needle(style, t, k, v, line)
                ins.append((d, i, c))
        deps = np.array(deps)
        # questions: each belongs to the block at one of `ends`, about needles before it
        perm = list(r.permutation(nn))
        blocks = [[] for _ in range(nb)]
        used = 0
        budget = int(L * (0.72 if kind == "needle" else 0.5)) if packed else 10**9
        mq_mode = packed and r.random() < 0.15 or (not packed and nn >= 4 and kind != "needle" and r.random() < 0.3)
        qi = 0
        while qi < nq and used < budget:
            b = nb - 1 if r.random() < 0.5 else self.ri(0, nb)
            j = int(perm[qi % nn])
            qi += 1
            if deps[j] >= ends[b]:
                b = nb - 1
            if packed and r.random() < 0.12 and len(vals[j]) == 1:  # verbatim repeat
                i, c = self.needle(style, t, keys[j], vals[j][0], False)
                i = E("\n") + i
                c = [2] + [11 if z == 3 else z for z in c]
            elif mq_mode and style == 0 and nn >= 4 and L > 500 and r.random() < 0.5:
                js = [j] + [int(z) for z in r.choice(nn, 3, replace=False) if z != j and deps[z] < ends[b]]
                js = [z for z in js if len(vals[z]) == 1]
                if len(js) < 2:
                    continue
                i, c = self.question(style, t, [keys[z] for z in js], [vals[z][0] for z in js])
            else:
                i, c = self.question(style, t, [keys[j]], vals[j])
            blocks[b].append((i, c))
            used += len(i)
        for b in range(nb):
            ids, cs = [], []
            for i, c in blocks[b]:
                ids += i
                cs += c
            if b < nb - 1 and ids:
                ins.append((ends[b], ids + E("\n"), cs + [2]))
            elif b == nb - 1:
                tail = (ids, cs)
        h = E(head)
        fixed = len(h) + len(tail[0]) + sum(len(x[1]) for x in ins)
        n = L - fixed
        if n < 0 and kind == "needle":  # too many needles: drop unasked ones is complex; cut in front instead
            n = 0
        hk = "book" if (kind == "needle" and r.random() < 0.5) else ("noise" if kind != "book" else "book")
        if kind == "needle" and n > 0:
            # spread the surplus as a text prefix so that the needle list itself stays dense
            t0, c0, _ = self.hay(hk, n)
            body, cb = self.weave(self.hay("book", 0), ins)
            ids = np.concatenate([t0, np.array(h, np.uint16), body, np.array(tail[0], np.uint16)])
            c = np.concatenate([c0, np.full(len(h), 2, np.uint8), cb, np.array(tail[1], np.uint8)])
        else:
            body, cb = self.weave(self.hay(hk, max(0, n)), ins)
            ids = np.concatenate([np.array(h, np.uint16), body, np.array(tail[0], np.uint16)])
            c = np.concatenate([np.full(len(h), 2, np.uint8), cb, np.array(tail[1], np.uint8)])
        return ids, c

    # ---- variable tracking
    def name(self, n=5, sp=True):
        s = "".join(chr(65 + x) for x in self.r.integers(0, 26, n))
        return (self.tok.encode(" " + s, add_special_tokens=False).ids, self.tok.encode(s, add_special_tokens=False).ids)

    def vt(self, L, packed, ex=False):
        r = self.r
        E = self.enc
        hops = 4 if not packed else self.ri(1, 6)
        cl = 14 * (hops + 1)
        nch = 1 if not packed else max(1, min(self.logu(1, max(2, L // 160)), int(L * 0.7 / (cl + 60 + 6 * hops))))
        ins, qs = [], []
        line0 = E("VAR")
        for _ in range(nch):
            names = [self.name(3 if ex else 5) for _ in range(hops + 1)]
            v = self.num(5)
            ds = (
                np.sort(r.random(hops + 1))
                if r.random() < 0.7 or not packed
                else np.sort(np.clip(r.random() + r.random(hops + 1) * 0.02, 0, 0.999))
            )
            for i, d in enumerate(ds):
                a = line0 + names[i][0]
                if i == 0:
                    ids = a + E(" =") + v + E("\n")
                    c = [2] + [3] * len(names[i][0]) + [2] + [3] * len(v) + [2]
                else:
                    ids = a + E(" = VAR") + names[i - 1][0] + E(" 1")[:1] + E("\n")
                    c = [2] + [3] * len(names[i][0]) + [2] * len(E(" = VAR")) + [3] * len(names[i - 1][0]) + [2, 2]
                ins.append((d, ids, c))
            a = E("\nQuestion: Find all variables that are assigned the value")
            b = (
                E(" in the text above. Answer: According to the chain(s) of variable assignment in the text above,")
                + [self.sp, self.dig[hops + 1]]
                + E(" variables are assigned the value")
            )
            e = E(", they are:")
            ids = a + v + b + v + e
            c = [2] * len(a) + [3] * len(v) + [2] * len(b) + [11] * len(v) + [2] * len(e)
            if packed and r.random() < 0.4:
                for n_ in names:
                    ids = ids + n_[0]
                    c = c + [12] * len(n_[0])
            else:
                ids = ids + [self.sp] + names[0][1]
                c = c + [2] + [12] * len(names[0][1])
                for n_ in names[1:]:
                    ids = ids + n_[0]
                    c = c + [12] * len(n_[0])
            qs.append((ids, c))
        r.shuffle(qs) if len(qs) > 1 else None
        h = E(VT_HEAD)
        pre, prec = list(h), [2] * len(h)
        if not packed and not ex and L > 900 and r.random() < 0.6:  # RULER's in-context example: 3-letter names, its own value
            i, c = self.vt(self.ri(350, 490), False, ex=True)
            pre = list(i) + E("\n") + pre
            prec = list(c) + [2] + prec
        q, qc = [], []
        for i, c in qs:
            q += i
            qc += c
        n = L - len(pre) - len(q) - sum(len(x[1]) for x in ins)
        body, cb = self.weave(self.hay("noise" if r.random() < 0.8 else "book", max(0, n)), ins)
        return np.concatenate([np.array(pre, np.uint16), body, np.array(q, np.uint16)]), np.concatenate(
            [np.array(prec, np.uint8), cb, np.array(qc, np.uint8)]
        )

    # ---- JSON key-value
    def kv(self, L, packed):
        r = self.r
        E = self.enc
        h = E(KV_HEAD)
        ids, c = list(h), [2] * len(h)
        frac = r.uniform(0.35, 0.8) if packed else 1.0
        nn = max(2, int((L * frac - 60 - (0 if packed else 100)) / 79))
        ks = [self.uu(False) for _ in range(nn)]
        vs = [self.uu(False) for _ in range(nn)]
        for i in range(nn):  # pieces are cut where the pre-tokeniser cuts: {"  ":  "  ",  "  "}
            a = E(' "') if i else []
            b = E('": "')
            e = E('",') if i < nn - 1 else E('"}')
            ids += a + ks[i] + b + vs[i] + e
            c += [2] * len(a) + [3] * len(ks[i]) + [2] * len(b) + [3] * len(vs[i]) + [2] * len(e)
        x = E("\n")
        ids += x
        c += [2] * len(x)
        nq = 1 if not packed else max(1, int((L - len(ids)) / 92))
        perm = r.permutation(nn)
        for q in range(nq):
            j = int(perm[q % nn])
            a = E('\nKey: "')
            b = E('"\nThe value associated with the specified key is:') + [self.sp]
            ids += a + ks[j] + b + vs[j]
            c += [2] * len(a) + [3] * len(ks[j]) + [2] * len(b) + [13] * len(vs[j])
            if q < nq - 1:
                ids += E("\n")
                c += [2]
        ids, c = np.array(ids, np.uint16), np.array(c, np.uint8)
        if len(ids) < L:
            t0, c0, _ = self.hay("book", L - len(ids))
            ids, c = np.concatenate([t0, ids]), np.concatenate([c0, c])
        return ids, c

    # ---- passkey
    def passkey(self, L):
        r = self.r
        E = self.enc
        x = r.random()
        p = [self.sp] + [self.dig[int(z)] for z in str(self.ri(1, 50000) if r.random() < 0.5 else self.ri(10000, 100000))]
        ps = p[1:]
        if x < 0.8:
            a, b, e, q = (
                E("The pass key is"),
                E(". Remember it."),
                E(" is the pass key.\n"),
                E("What is the pass key? The pass key is"),
            )
        else:
            d = [self.dig[int(z)] for z in str(self.ri(10000, 100000))]
            p = [self.sp] + [y for z in d for y in ((z, z) if r.random() < 0.5 else (z,))]
            a, b, e, q = (
                E("The sequence of digits is"),
                E(". Remember it."),
                E(" is the sequence of digits.\n"),
                E("What is the sequence of digits? The sequence of digits is"),
            )
        if r.random() < 0.5:
            a = E("\n") + a
        nd = a + p + b + p + e
        nc = [2] * len(a) + [3] * len(p) + [2] * len(b) + [11] * len(p) + [2] * len(e)
        if r.random() < 0.7:
            q = E("\n") + q
        tail = q + p
        tc = [2] * len(q) + [14] * len(p)
        h = E(PK_HEAD)
        n = L - len(h) - len(nd) - len(tail)
        body, cb = self.weave(self.hay("noise" if r.random() < 0.8 else "book", max(0, n)), [(r.random(), nd, nc)])
        return np.concatenate([np.array(h, np.uint16), body, np.array(tail, np.uint16)]), np.concatenate(
            [np.full(len(h), 2, np.uint8), cb, np.array(tc, np.uint8)]
        )

    # ---- MQAR on random tokens, and copies
    def mqar(self, L):
        r = self.r
        kl, vl = self.ri(1, 4), self.ri(1, 5)
        u = kl + vl + 1
        n = max(2, int(L / u * r.uniform(0.3, 0.6)))
        keys = r.integers(258, self.V, (n, kl))
        vals = r.integers(258, self.V, (n, vl))
        s = np.full((n, 1), self.ri(258, self.V))
        _, first = np.unique(keys, axis=0, return_index=True)
        rows = np.concatenate([keys, vals, s], 1)
        m = (L - rows.size) // u
        q = (
            r.permutation(first)[: max(1, m)]
            if m <= len(first)
            else np.concatenate([r.permutation(first) for _ in range(m // len(first) + 1)])[:m]
        )
        ids = np.concatenate([rows.ravel(), rows[q].ravel()]).astype(np.uint16)
        c = np.zeros_like(rows, dtype=np.uint8)
        cq = np.zeros((len(q), u), np.uint8)
        cq[:, kl : kl + vl] = 15
        return ids, np.concatenate([c.ravel(), cq.ravel()])

    def copy(self, L):
        r = self.r
        out, oc, src = [], [], []
        n = 0
        text = r.random() < 0.6
        while n < L:
            if src and r.random() < 0.55:
                s = src[self.ri(0, len(src))]
                c = np.full(len(s), 16, np.uint8)
                c[: (8 if text else 3)] = 0
                if r.random() < 0.5:
                    a = self.ri(0, max(1, len(s) // 2))
                    s = s[a:]
                    c = c[: len(s)].copy()
            elif text:
                m = self.ri(30, 160)
                s, c, _ = self.hay("book", m)
                src.append(s)
                if r.random() < 0.4:
                    g = min(self.logu(50, max(60, L // 4)), L)
                    f, fc, _ = self.hay("book", g)
                    out.append(f)
                    oc.append(fc)
                    n += g
            else:
                m = self.ri(8, 120)
                s = r.integers(258, self.V, m).astype(np.uint16)
                c = np.zeros(m, np.uint8)
                src.append(s)
            sep = np.array(self.enc("\n"), np.uint16)
            out += [s, sep]
            oc += [c, np.zeros(1, np.uint8)]
            n += len(s) + 1
        return np.concatenate(out)[:L], np.concatenate(oc)[:L]

    def lm(self, L):
        b = self.ri(0, len(self.boff) - 1)
        a, e = int(self.boff[b]), int(self.boff[b + 1])
        s = self.ri(a, max(a + 1, e - L))
        t = self.books[s : s + L]
        return t, np.ones(len(t), np.uint8)

    # ---- one training sequence
    MIX = dict(packed=0.36, single=0.14, vtp=0.09, vts=0.02, kvp=0.08, kvs=0.02, pk=0.05, mqar=0.09, copy=0.09, lm=0.06)

    def episode(self, L):
        ks = list(self.MIX)
        k = ks[int(self.r.choice(len(ks), p=np.array(list(self.MIX.values())) / sum(self.MIX.values())))]
        if L < 400 and k in ("kvp", "kvs"):
            k = "packed"
        return {
            "packed": lambda: self.niah(L, True),
            "single": lambda: self.niah(L, False),
            "vtp": lambda: self.vt(L, True),
            "vts": lambda: self.vt(L, False),
            "kvp": lambda: self.kv(L, True),
            "kvs": lambda: self.kv(L, False),
            "pk": lambda: self.passkey(L),
            "mqar": lambda: self.mqar(L),
            "copy": lambda: self.copy(L),
            "lm": lambda: self.lm(L),
        }[k]()

    def sequence(self, L):
        """BOS + episodes, each closed by EOS, cut to L tokens"""
        r = self.r
        ids, cs = [np.zeros(1, np.uint16)], [np.zeros(1, np.uint8)]
        n = 1
        whole = r.random() < (0.85 if L <= 1024 else 0.6)
        while n < L:
            room = L - n - 1
            e = room if whole or room < 600 else int(np.clip(self.logu(300, room), 300, room))
            if e < 200:
                t, c, _ = self.hay("book", room + 1)
                ids.append(t)
                cs.append(c)
                n += len(t)
                break
            t, c = self.episode(e)
            if len(t) > room:
                t, c = t[-room:], c[-room:]  # too long: keep the end, where the questions are
            ids += [t, np.ones(1, np.uint16)]
            cs += [c, np.full(1, 2, np.uint8)]
            n += len(t) + 1
        ids, cs = np.concatenate(ids)[:L], np.concatenate(cs)[:L]
        if len(ids) < L:
            ids = np.pad(ids, (0, L - len(ids)))
            cs = np.pad(cs, (0, L - len(cs)))
        return ids, cs

    def batch(self, B, L):
        x = [self.sequence(L) for _ in range(B)]
        return np.stack([a for a, _ in x]), np.stack([b for _, b in x])


if __name__ == "__main__":
    d = sys.argv[1]
    g = Gen(d, 1)
    T = g.tok
    fs = dict(
        packed=lambda L: g.niah(L, True),
        single=lambda L: g.niah(L, False),
        vtp=lambda L: g.vt(L, True),
        vts=lambda L: g.vt(L, False),
        kvp=lambda L: g.kv(L, True),
        kvs=lambda L: g.kv(L, False),
        pk=g.passkey,
        copy=g.copy,
        lm=g.lm,
        mqar=g.mqar,
    )
    for name, f in fs.items():
        bad = 0
        lens = []
        for i in range(60):
            L = [400, 1000, 4000][i % 3]
            t, c = f(L)
            lens.append(len(t) / L)
            assert len(t) == len(c), name
            s = T.decode(list(t), skip_special_tokens=False)
            if name not in ("mqar", "copy"):
                bad += T.encode(s, add_special_tokens=False).ids[1:] != list(map(int, t))[1:]
        print(f"{name:8s} retokenised differently {bad}/60   length/target {np.mean(lens):.2f} {np.max(lens):.2f}")
        if name not in ("lm",):
            print("   ...", repr(T.decode(list(f(700)[0]))[-330:]))
    for L in (1024, 16384, 131072):
        t0 = time.time()
        n = 0
        cnt = np.zeros(20)
        while time.time() - t0 < 2:
            a, b = g.batch(max(1, 16384 // L), L)
            n += a.size
            cnt += np.bincount(b.ravel(), minlength=20)
        print(L, f"{n / (time.time() - t0) / 1e6:.2f} Mtok/s", "class %", np.round(100 * cnt / cnt.sum(), 1))

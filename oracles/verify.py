"""Asserts that a recorded pass is the library's own, and every equation between sites (README.md)."""

import common
import torch


def close(what, a, b, bound=1e-6):
    worst, relative = common.difference(a, b)
    # A sum of n terms may round differently in another order; 1e-6 of the largest value is a few units in the last place.
    if not relative <= bound:
        raise AssertionError(f"{what}: {worst:.3g} absolute, {relative:.3g} relative")
    return relative


def seen(features):
    """Features of all pictures as one matrix: up to transformers 5.23 they were one tensor, since then a list with one of each picture."""
    parts = features if isinstance(features, (list, tuple)) else [features]
    return torch.cat([x.reshape(-1, x.shape[-1]) for x in parts])


def begins(sites, made):
    """`generate` saw what was recorded. Its first token need not have the highest logit: the checkpoint's settings have a say."""
    close("the first logits of generate", sites["logits"][:, -1], made.logits[0], 4e-6)


def at_tokens(real, x):
    """Of [batch pos ...], what is at real tokens; everything where there is no padding to speak of."""
    return x if real is None else x[real]


def stream(part, sites, hidden_states, attentions, real=None, kind="attn", bound=1e-6):
    """The library's own `hidden_states` (what enters each block) and `attentions` of one part. Further hidden states are the family's
    business. `attentions` may be None."""
    for i in range(len([s for s in sites if s.startswith(f"{part}.blocks.") and s.endswith(".resid_pre")])):
        mine = sites[f"{part}.blocks.{i}.resid_pre"]
        close(f"{part} hidden_states[{i}]", at_tokens(real, mine), at_tokens(real, hidden_states[i]), bound)
        if attentions is not None:
            mine = sites[f"{part}.blocks.{i}.{kind}.pattern"]
            flip = lambda x: at_tokens(real, x.transpose(1, 2))
            close(f"{part} attentions[{i}]", flip(mine), flip(attentions[i]), bound)


def attention(name, heads, at, out):
    """`at`: the sites of one attention layer; `out`: the output of its projection."""
    q, k = (at["q_rot"], at["k_rot"]) if heads.turned else (at["q"], at["k"])
    groups = q.shape[2] // k.shape[2]
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(groups, 2)) * heads.scaling
    if heads.cap is not None:
        scores = heads.cap * torch.tanh(scores / heads.cap)
    seen = at["scores"] > -1e30
    close(f"{name}.scores", scores[seen], at["scores"][seen])
    close(f"{name}.pattern", at["scores"].softmax(-1), at["pattern"])
    z = torch.einsum("bhqk,bkhd->bqhd", at["pattern"], at["v"].repeat_interleave(groups, 2))
    close(f"{name}.z", at["z"], z)
    bias = heads.out.bias if heads.out.bias is not None else 0
    close(f"{name}.result", at["result"].sum(2) + bias, out)


def blocks(recorder, sites):
    """The equations of every block that the recorder was told of."""
    for name, block in recorder.blocks.items():
        if f"{name}.resid_pre" not in sites:
            continue
        at = {s.removeprefix(name + "."): x for s, x in sites.items() if s.startswith(name + ".")}
        inner = lambda kind: {s.removeprefix(kind + "."): x for s, x in at.items() if s.startswith(kind + ".")}
        out = lambda kind: recorder.assembled(f"~{name}.{kind}.out", recorder.raw[f"~{name}.{kind}.out"]).detach()
        norm = lambda which, x: block.norms[which](x) if which in block.norms else x
        attention(f"{name}.attn", block.heads, inner("attn"), out("attn"))
        close(f"{name}.resid_mid", at["resid_mid"], at["resid_pre"] + at["attn_out"])
        x = norm("attn", at["resid_mid"])
        for point in ("resid_mid", "resid_cross", "resid_post"):
            if f"normalized_{point}" in at:
                kind = {"mid": "attn", "post": "mlp"}.get(point[6:], point[6:])
                close(f"{name}.normalized_{point}", at[f"normalized_{point}"], norm(kind, at[point]))
        if block.cross is not None and "cross_out" in at:
            attention(f"{name}.cross", block.cross, inner("cross"), out("cross"))
            close(f"{name}.resid_cross", at["resid_cross"], x + at["cross_out"])
            x = norm("cross", at["resid_cross"])
        close(f"{name}.resid_post", at["resid_post"], x + at["mlp_out"])
        act, mlp = block.mlp.act, inner("mlp")
        post = act(mlp["gate"]) * mlp["pre"] if "gate" in mlp else act(mlp["pre"])
        close(f"{name}.mlp.post", mlp["post"], post)

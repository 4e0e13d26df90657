"""Hooks on a model of transformers: every site of mmlens as a tensor of the autograd graph, whatever the family.

A family says where its modules are (`families/*.py`); this file knows how attention is read and how gradients are taken.
"""

import types
from dataclasses import dataclass, field
from typing import Any, Callable

import common  # noqa: F401  one thread, before torch is imported
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

PROBE = "mmlens_probe"
HIDDEN = torch.finfo(torch.float32).min
_active = None


def same(x):
    return x


def swap(x):
    return x.transpose(1, 2)


def probe(module, query, key, value, attention_mask, scaling=None, dropout=0.0, softcap=None, **kwargs):
    """Explicit attention that hands its intermediate tensors to the active recorder. All of [batch head pos width]."""
    groups = query.shape[1] // key.shape[1]
    # Same memory layout as the library's own, so that the two passes agree to the bit.
    spread = lambda x: x if groups == 1 else x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2)
    keys, values = spread(key), spread(value)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query @ keys.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = torch.softmax(scores, dim=-1)
    z = pattern @ values
    if _active is not None:
        _active.attention_seen(module, query, key, scores, pattern, z, scaling, softcap)
    return z.transpose(1, 2).contiguous(), pattern


AttentionInterface.register(PROBE, probe)
AttentionMaskInterface.register(PROBE, eager_mask)


@dataclass
class Heads:
    """An attention layer. `module` is the one that calls the attention interface (or `probe`).

    `qkv`: three projections, or one fused one with `split`, which turns its output into q, k and v as [batch pos head width].
    `out`: the output projection, a Linear or GPT-2's Conv1D. `turned`: whether queries and keys are normed or rotated on their way
    into the scores (then there are `q_rot` and `k_rot`). `pieces`: the interface is called once per segment of one sequence.
    `scaled`: what queries are multiplied with before the interface is called, where that is the module's business.
    `lift`: from a projection's output to [batch pos ...], where the model works without a batch axis.
    """

    module: torch.nn.Module
    qkv: Any
    out: torch.nn.Module
    width: int
    turned: bool = False
    split: Callable | None = None
    pieces: bool = False
    scaled: float = 1.0
    lift: Callable = same
    scaling: float | None = None
    cap: float | None = None


@dataclass
class Mlp:
    """An MLP: `pre` into the neurons, `down` out of them, `gate` if there is one, `act` the nonlinearity."""

    pre: torch.nn.Module
    down: torch.nn.Module
    act: Callable
    gate: torch.nn.Module | None = None


@dataclass
class Block:
    """What `Recorder.block` was told, for `verify.py`. `norms`: of post-norm blocks, those after each sum."""

    heads: Heads
    mlp: Mlp
    cross: Heads | None = None
    norms: dict[str, torch.nn.Module] = field(default_factory=dict)


class Recorder:
    """`raw` keeps tensors of the autograd graph; `layouts` turns each into the axes of its site. A `with` block, used once."""

    def __init__(self, model, with_gradient):
        self.model, self.with_gradient = model, with_gradient
        self.raw, self.layouts, self.joins = {}, {}, {}
        self.handles, self.swapped = [], []
        self.attentions, self.blocks = {}, {}
        self.aliases, self.derived = {}, {}
        self.interface = True

    # What a family calls.

    def keep(self, site, tensor, layout=same, join=None):
        """`join` puts the pieces together where a site is reached once per segment."""
        if site in self.raw:
            assert join is not None, f"{site} reached twice"
            self.raw[site].append(tensor)
        else:
            self.raw[site], self.layouts[site], self.joins[site] = [tensor], layout, join

    def after(self, module, site, layout=same):
        """The output of a module (the first, if it gives several)."""

        def hook(module, args, output):
            self.keep(site, output[0] if isinstance(output, tuple) else output, layout)

        self.handles.append(module.register_forward_hook(hook))

    def before(self, module, site, layout=same):
        """The first input of a module."""

        def hook(module, args, kwargs):
            self.keep(site, args[0] if args else next(iter(kwargs.values())), layout)

        self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def embedding(self, module, site):
        """The output of an embedding; with gradients, this is where they end."""

        def hook(module, args, output):
            output = output.detach().clone()
            if self.with_gradient:
                output.requires_grad_()
            self.keep(site, output)
            return output.clone()  # some models go on to add in place

        self.handles.append(module.register_forward_hook(hook))

    def alias(self, site, of):
        """Another name for a site, e.g. `text.input` for what enters block 0."""
        self.aliases[site] = of

    def derive(self, site, compute):
        """A site that is no tensor of the graph: `compute(sites)`, after the pass. Its gradient is that of what was kept under its name."""
        self.derived[site] = compute

    def swap(self, module, forward):
        """Another `forward` for a module whose attention does not go through the interface; it calls `probe`."""
        module.forward = types.MethodType(forward, module)
        self.swapped.append(module)

    def attention(self, name, heads):
        """`name`: `text.blocks.0.attn`, or `.cross` for cross-attention."""
        self.attentions[heads.module] = (name, heads)
        if heads.split is None:
            for part, module in zip("qkv", heads.qkv):
                self.after(module, f"{name}.{part}", lambda x: heads.lift(x).unflatten(-1, (-1, heads.width)))
        else:

            def hook(module, args, output):
                for i, part in enumerate("qkv"):
                    self.keep(f"{name}.{part}", output, lambda x, i=i: heads.split(x)[i])

            self.handles.append(heads.qkv.register_forward_hook(hook))
        self.after(heads.out, f"~{name}.out", heads.lift)

    def neurons(self, name, mlp, lift=same):
        if mlp.gate is not None:
            self.after(mlp.gate, f"{name}.mlp.gate", lift)
        self.after(mlp.pre, f"{name}.mlp.pre", lift)
        self.before(mlp.down, f"{name}.mlp.post", lift)

    def pre_norm(self, name, block, heads, mlp, second_norm, attn_out, mlp_out, lift=same, cross=None, cross_norm=None):
        """A block x + f(norm(x)). `attn_out` and `mlp_out` are the modules whose output is added: where a norm follows attention or
        MLP, that norm. `second_norm` is the module that `resid_mid` enters, or, with cross-attention behind `cross_norm`, `resid_cross`."""
        self.blocks[name] = Block(heads, mlp, cross)
        self.attention(f"{name}.attn", heads)
        self.neurons(name, mlp, lift)
        self.before(block, f"{name}.resid_pre", lift)
        self.after(attn_out, f"{name}.attn_out", lift)
        if cross is None:
            self.before(second_norm, f"{name}.resid_mid", lift)
        else:
            self.attention(f"{name}.cross", cross)
            self.before(cross_norm, f"{name}.resid_mid", lift)
            self.after(cross.out, f"{name}.cross_out", lift)
            self.before(second_norm, f"{name}.resid_cross", lift)
        self.after(mlp_out, f"{name}.mlp_out", lift)
        self.after(block, f"{name}.resid_post", lift)

    def post_norm(self, name, block, heads, mlp, attn_norm, mlp_norm, cross=None, cross_norm=None):
        """A block norm(x + f(x)), as BERT's. `resid_mid`, `resid_cross` and `resid_post` are the sums before their norms."""
        norms = {"attn": attn_norm, "mlp": mlp_norm} | ({} if cross is None else {"cross": cross_norm})
        self.blocks[name] = Block(heads, mlp, cross, norms)
        self.attention(f"{name}.attn", heads)
        self.neurons(name, mlp)
        self.before(block, f"{name}.resid_pre")
        self.after(heads.out, f"{name}.attn_out")
        self.before(attn_norm, f"{name}.resid_mid")
        self.after(attn_norm, f"{name}.normalized_resid_mid")
        if cross is not None:
            self.attention(f"{name}.cross", cross)
            self.after(cross.out, f"{name}.cross_out")
            self.before(cross_norm, f"{name}.resid_cross")
            self.after(cross_norm, f"{name}.normalized_resid_cross")
        self.after(mlp.down, f"{name}.mlp_out")
        self.before(mlp_norm, f"{name}.resid_post")
        self.after(mlp_norm, f"{name}.normalized_resid_post")

    # What the probe calls.

    def attention_seen(self, module, query, key, scores, pattern, z, scaling, cap):
        name, heads = self.attentions[module]
        heads.scaling, heads.cap = scaling * heads.scaled, cap
        along, corner = (None, None)
        if heads.pieces:
            along = lambda parts: torch.cat(parts, 2)
            corner = lambda fill: lambda parts: diagonal(parts, fill)
        if heads.turned:
            self.keep(f"{name}.q_rot", query, swap, along)
            self.keep(f"{name}.k_rot", key, swap, along)
        self.keep(f"{name}.scores", scores, same, corner and corner(HIDDEN))
        self.keep(f"{name}.pattern", pattern, same, corner and corner(0.0))
        self.keep(f"{name}.z", z, swap, along)

    def __enter__(self):
        global _active
        _active = self
        if self.interface:
            self.model.set_attn_implementation(PROBE)
        return self

    def __exit__(self, *_):
        global _active
        _active = None
        for handle in self.handles:
            handle.remove()
        for module in self.swapped:
            del module.forward
        if self.interface:
            self.model.set_attn_implementation("eager")

    # What is read afterwards.

    def assembled(self, site, parts):
        join = self.joins[site]
        return self.layouts[site](join(parts) if join is not None else parts[0])

    def sites(self):
        """Every site in its own axes."""
        out = {}
        for site, parts in self.raw.items():
            if not site.startswith("~"):
                out[site] = self.assembled(site, [x.detach() for x in parts])
        for site, compute in self.derived.items():
            if site in out:
                out[site] = compute(out)
        for name, heads in self.attentions.values():
            if f"{name}.z" in out:
                z = out[f"{name}.z"]
                weight = columns(heads.out).unflatten(1, (z.shape[2], z.shape[3]))
                out[f"{name}.result"] = torch.einsum("bphd,mhd->bphm", z, weight)
        for site, of in self.aliases.items():
            if of in out:
                out[site] = out[of]
        return out

    def gradients(self, objective, wanted):
        """d objective / d site. `attn.result` enters as a sum, so every head's gradient is that of the output projection's output."""
        source = {}
        for site in wanted:
            at = self.aliases.get(site, site)
            if at.endswith((".attn.result", ".cross.result")):
                at = f"~{at.removesuffix('.result')}.out"
            if at not in self.raw:
                raise KeyError(f"no site `{site}`")
            source[site] = at
        pieces = [(at, x) for at in sorted(set(source.values())) for x in self.raw[at]]
        grads = torch.autograd.grad(objective, [x for _, x in pieces], allow_unused=True, materialize_grads=True)
        parts = {}
        for (at, _), gradient in zip(pieces, grads):
            parts.setdefault(at, []).append(gradient)
        found = {}
        for at, gradient in parts.items():
            if self.joins[at] is not None and at.endswith(".scores"):
                found[at] = diagonal(gradient, 0.0)
            else:
                found[at] = self.assembled(at, gradient)
        out = {}
        for site, at in source.items():
            out[site] = found[at]
            if at.startswith("~"):
                z = f"{site.removesuffix('.result')}.z"
                heads = self.assembled(z, self.raw[z]).shape[2]
                out[site] = found[at].unsqueeze(2).repeat(1, 1, heads, 1)
        return out


def columns(linear):
    """The weight of an output projection as [out, in]; GPT-2's Conv1D holds it the other way round."""
    return linear.weight.T if type(linear).__name__ == "Conv1D" else linear.weight


def diagonal(parts, fill):
    """Patterns of segments that do not meet, as one matrix: [batch head query key]."""
    rows, before, total = [], 0, sum(x.shape[-1] for x in parts)
    for x in parts:
        pad = (before, total - before - x.shape[-1])
        rows.append(torch.nn.functional.pad(x, pad, value=fill))
        before += x.shape[-1]
    return torch.cat(rows, 2)

"""The same pass in float64: what float32 itself costs."""

from dataclasses import replace

import common
import torch

import compare
import passes


def norms(model):
    """transformers' RMS norms insist on float32: a `forward` for each of their classes that does not."""

    def plain(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + getattr(self, "variance_epsilon", 0.0) + getattr(self, "eps", 0.0))

    def offset(self, x):
        return (1.0 + self.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    found = {type(module) for module in model.modules() if type(module).__name__.endswith("RMSNorm")}
    return {kind: offset if kind.__name__.startswith("Gemma") else plain for kind in found}


def in_double(checkpoint, batch, grads, target="argmax"):
    replaced = norms(checkpoint.model)
    before = {kind: kind.forward for kind in replaced}
    widen = lambda x: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
    for kind, forward in replaced.items():
        kind.forward = forward
    checkpoint.model.double()
    try:
        more = {name: widen(x) for name, x in batch.more.items()}
        double = replace(batch, **{name: widen(x) for name, x in batch.shown().items()}, more=more)
        return passes.run(checkpoint, double, grads, target, check=False)
    finally:
        for kind, forward in before.items():
            kind.forward = forward
        checkpoint.model.float()


def rounding(checkpoint, batch, grads=(), target="argmax"):
    """How far float32 is off, value by value, measured as `mmlens certify` measures: `{"text.input": 3.5e-7, "grad.text.input": ...}`."""
    sites, gradients, _ = passes.run(checkpoint, batch, grads, target, check=False)
    exact, exact_gradients, _ = in_double(checkpoint, batch, grads, target)
    pairs = [(site, x, exact[site]) for site, x in sites.items()]
    pairs += [(f"grad.{site}", x, exact_gradients[site]) for site, x in gradients.items()]
    out = {}
    for name, x, wanted in pairs:
        hidden = wanted < compare.MASKED if compare.scores(name) else torch.zeros_like(wanted, dtype=torch.bool)
        out[name] = common.beside(x.masked_fill(hidden, 0), wanted.masked_fill(hidden, 0), compare.axes(name, wanted))
    return out

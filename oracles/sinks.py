"""Attention rollout of `llava-a`'s language model without its sinks, written out in NumPy: `fixtures/methods/rollout-sinks.safetensors`.

A position is a sink to a head if the other positions that look at it, with a weight above zero, give it more than `above` in the mean; `sinks` is the share
of heads, of all layers, to which it is one. What is one to more than half of them counts as a key with no weight, before rows are divided by their sums.
"""

import common
import numpy as np
import torch

import trace
from methods import FOLDER, Question

# No trained model: what is a sink here is one by chance, and the bound is low enough that some positions are.
ABOVE = 0.06


def columns(pattern):
    """Mean weight on each position, [head key], of the others that look at it."""
    others = pattern * (1 - np.eye(pattern.shape[-1]))
    looks = (others > 0).sum(1)
    return np.where(looks > 0, others.sum(1) / np.maximum(looks, 1), 0), looks


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    with torch.no_grad():
        sites = trace.run(checkpoint, q.batch)[0]
    layers = q.model.config.text_config.num_hidden_layers
    patterns = [sites[f"text.blocks.{i}.attn.pattern"][0].double().numpy() for i in range(layers)]
    means = np.concatenate([columns(pattern)[0] for pattern in patterns])
    margin = np.abs(means - ABOVE).min()
    shares = (means > ABOVE).mean(0)
    assert margin > 1e-5 and np.abs(shares - 0.5).min() > 1e-3, (margin, shares)
    without = shares > 0.5
    joined = np.eye(len(without))
    for pattern in patterns:
        mixed = 0.5 * np.where(without, 0, pattern.mean(0)) + 0.5 * np.eye(len(without))
        joined = (mixed / mixed.sum(-1, keepdims=True)) @ joined
    print(f"{without.sum()} of {len(without)} positions are sinks, to {shares[without]} of {len(means)} heads; nearest mean to the bound {margin:.2g}")
    out = {"sinks": torch.tensor(shares, dtype=torch.float32), "text": torch.tensor(joined, dtype=torch.float32)}
    common.save(FOLDER / "rollout-sinks.safetensors", out, q.about | {"above": ABOVE, "axes": "query key", "most": 0.5})


if __name__ == "__main__":
    main()

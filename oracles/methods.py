"""What captum, and direct computation in torch, make of `llava-a`: `fixtures/methods/*.safetensors`.

`question.safetensors` holds what is explained: `input_ids`, `pixel_values`, `logits` of the last position and `target`, the token
whose logit there is the objective.
"""

import itertools
import math

import common
import numpy as np
import shap
import torch
from captum.attr import IntegratedGradients, Occlusion
from captum.attr._utils.approximation_methods import approximation_parameters
from common import FIXTURES
from PIL import Image

import pictures
import trace

FOLDER = FIXTURES / "methods"
STEPS = 16
RULES = ("riemann_trapezoid", "gausslegendre", "riemann_middle")


class Question:
    """One checkpoint and one prompt as functions of the pixels, or of the pixels and the token embeddings."""

    def __init__(self, checkpoint, prompt, picture):
        image = Image.open(pictures.FOLDER / f"{picture}.png")
        self.checkpoint, self.model = checkpoint, checkpoint.model
        self.batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [image]}])
        self.ids, self.pixels = self.batch.input_ids, self.batch.pixel_values
        self.embeds = self.model.model.language_model.embed_tokens(self.ids)
        with torch.no_grad():
            self.logits = self.of_pixels(self.pixels)[0]
        self.target = int(self.logits.argmax())
        self.about = {"prompt": prompt, "picture": picture, "checkpoint": "fixtures/llava-a/model"}

    def of_pixels(self, pixels):
        return self.model(input_ids=self.ids.expand(len(pixels), -1), pixel_values=pixels, use_cache=False).logits[:, -1]

    def of_both(self, pixels, embeds):
        """The features take the places of the image tokens' embeddings, so those rows of `embeds` have no effect."""
        inner = self.model.model
        features = torch.cat(list(inner.get_image_features(pixels).pooler_output)).to(embeds)
        holes = (self.ids == self.model.config.image_token_id).expand(len(embeds), -1).unsqueeze(-1)
        states = inner.language_model(inputs_embeds=embeds.masked_scatter(holes, features), use_cache=False)
        return self.model.lm_head(states.last_hidden_state[:, -1])

    def save(self):
        target = torch.tensor([self.target])
        out = {"input_ids": self.ids, "pixel_values": self.pixels, "logits": self.logits[None], "target": target}
        common.save(FOLDER / "question.safetensors", out, self.about)


def integrated_gradients(q):
    zero = torch.zeros_like(q.pixels)
    full, none = q.of_pixels(q.pixels)[0, q.target], q.of_pixels(zero)[0, q.target]
    out = {"objective": full, "objective_at_baseline": none}
    for rule in RULES:
        scores = IntegratedGradients(q.of_pixels).attribute(q.pixels, zero, target=q.target, n_steps=STEPS, method=rule)
        weights, places = approximation_parameters(rule)
        out[f"{rule}.vision.pixels"] = scores
        out[f"{rule}.alphas"] = torch.tensor(places(STEPS), dtype=torch.float64)
        out[f"{rule}.weights"] = torch.tensor(weights(STEPS), dtype=torch.float64)
        print(f"integrated gradients, {rule}: sum {scores.sum():.5f}, change {full - none:.5f}, weights {sum(weights(STEPS)):.4f}")
    common.save(FOLDER / "integrated-gradients.safetensors", out, q.about | {"steps": STEPS, "baseline": "zeros"})

    base = (zero, torch.zeros_like(q.embeds))
    assert torch.allclose(q.of_both(q.pixels, q.embeds)[0], q.logits, atol=1e-5)
    joint = IntegratedGradients(q.of_both)
    out = {"objective": full, "objective_at_baseline": q.of_both(*base)[0, q.target]}
    for rule in ("gausslegendre", "riemann_middle"):
        pixels, words = joint.attribute((q.pixels, q.embeds), base, target=q.target, n_steps=STEPS, method=rule)
        out |= {f"{rule}.vision.pixels": pixels, f"{rule}.text.embed": words}
        print(f"joint, {rule}: pixels {pixels.sum():.5f}, words {words.sum():.5f}")
    print(f"joint: change {out['objective'] - out['objective_at_baseline']:.5f}")
    about = q.about | {"steps": STEPS, "baseline": "zeros for the pixels and for the embeddings of every token"}
    common.save(FOLDER / "integrated-gradients-joint.safetensors", out, about)


def occlusion(q):
    side = q.model.config.vision_config.patch_size
    explain = Occlusion(q.of_pixels).attribute
    cells = explain(q.pixels, (3, side, side), strides=(3, side, side), baselines=0.0, target=q.target)
    # A cell has one value: the logit with the picture whole, less the logit with the cell at the mean colour.
    grid = cells[0, 0, ::side, ::side]
    with torch.no_grad():
        for r in range(grid.shape[0]):
            for c in range(grid.shape[1]):
                hidden = q.pixels.clone()
                hidden[:, :, r * side : (r + 1) * side, c * side : (c + 1) * side] = 0
                drop = q.logits[q.target] - q.of_pixels(hidden)[0, q.target]
                assert (drop - grid[r, c]).abs() < 1e-5
    window, stride = (2 * side, side + 3), (side, side - 1)
    overlapping = explain(q.pixels, (3, *window), strides=(3, *stride), baselines=0.0, target=q.target)
    by_hand, covered = torch.zeros_like(q.pixels[0, 0]), torch.zeros_like(q.pixels[0, 0])
    starts = [range(0, math.ceil((n - w) / s) * s + 1, s) for n, w, s in zip(q.pixels.shape[2:], window, stride)]
    for top in starts[0]:
        for left in starts[1]:
            at = (slice(top, top + window[0]), slice(left, left + window[1]))  # slices stop at the edge
            hidden = q.pixels.clone()
            hidden[:, :, *at] = 0
            with torch.no_grad():
                by_hand[at] += q.logits[q.target] - q.of_pixels(hidden)[0, q.target]
            covered[at] += 1
    assert torch.allclose(overlapping[0], by_hand / covered, atol=1e-5)
    out = {"cells": grid, "overlapping": overlapping[0, 0]}
    about = q.about | {
        "cells": f"window and stride {side}, every channel",
        "overlapping": f"window (high, wide) {window}, strides {stride}; the last windows of a row or column are cut "
        "by the edge; a pixel has the mean over the windows that cover it",
        "hidden_value": "0 after normalisation",
    }
    common.save(FOLDER / "occlusion.safetensors", out, about)
    print(f"occlusion: cells {grid.shape}, from {grid.min():.4f} to {grid.max():.4f}")


def kernel_shap(q, side=2):
    """Cells of a grid and the words between picture and last position as players: every coalition in one pass each."""
    high, wide = (n // side for n in q.pixels.shape[2:])
    image = (q.ids[0] == q.model.config.image_token_id).nonzero()[:, 0]
    words = list(range(int(image[-1]) + 1, q.ids.shape[1] - 1))
    cells = [(r, c) for r in range(side) for c in range(side)]
    n = len(cells) + len(words)
    assert n <= 8

    def score(present):
        """Absent cells are zero after normalisation, absent words a vector of zeros where the stream begins."""
        pixels, embeds = q.pixels.clone(), q.embeds.clone()
        for there, (r, c) in zip(present, cells):
            if not there:
                pixels[:, :, r * high : (r + 1) * high, c * wide : (c + 1) * wide] = 0
        for there, at in zip(present[len(cells) :], words):
            if not there:
                embeds[:, at] = 0
        with torch.no_grad():
            return float(q.of_both(pixels, embeds)[0, q.target])

    scores = {z: score(z) for z in itertools.product((0, 1), repeat=n)}
    explain = shap.explainers.ExactExplainer(lambda rows: np.array([scores[tuple(int(v) for v in row)] for row in rows]), np.zeros((1, n)))
    shares = np.asarray(explain(np.ones((1, n))).values)[0]
    # The same as the mean over all orders.
    orders = np.zeros(n)
    for order in itertools.permutations(range(n)):
        present = [0] * n
        for player in order:
            before = scores[tuple(present)]
            present[player] = 1
            orders[player] += scores[tuple(present)] - before
    assert np.abs(orders / math.factorial(n) - shares).max() < 1e-6
    whole, none = scores[(1,) * n], scores[(0,) * n]
    size = np.abs(shares)
    out = {
        "cells": torch.tensor(shares[: len(cells)]).reshape(side, side),
        "words": torch.tensor(shares[len(cells) :]),
        "by_modality": torch.tensor([size[: len(cells)].sum(), size[len(cells) :].sum()]) / size.sum(),
        "objective": torch.tensor(whole),
        "objective_of_nothing": torch.tensor(none),
        "target": torch.tensor([q.target]),
        "positions": torch.tensor(words),
    }
    about = q.about | {"side": side, "hidden_value": "0 after normalisation; zeros where the stream begins", "library": f"shap {shap.__version__}"}
    common.save(FOLDER / "kernel-shap.safetensors", out, about)
    print(f"kernel shap: {n} players, shares {shares.round(4)}, from {none:.4f} to {whole:.4f}")


def draws(seed, count):
    """What `Seed(seed).at(i)` draws of a normal distribution, for each i: SplitMix64's finaliser, then Box and Muller."""
    ones = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & ones
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & ones
        return z ^ (z >> 31)

    at = lambda seed, item: mix(seed ^ mix((item + 0x9E3779B97F4A7C15) & ones))
    unit = lambda seed: (mix(seed) >> 40) / (1 << 24)
    normal = lambda seed: math.sqrt(-2 * math.log(1 - unit(at(seed, 0)))) * math.cos(math.tau * unit(at(seed, 1)))
    return at, lambda seed: [normal(at(seed, i)) for i in range(count)]


def smooth_grad(q, samples=4, noise=0.15, seed=3, steps=8):
    """Mean and deviation of integrated gradients of pixels with noise added, each from zero."""
    at, normal = draws(seed, q.pixels.numel())
    sigma = noise * float(q.pixels.max() - q.pixels.min())
    maps = []
    for k in range(samples):
        drawn = torch.tensor(normal(at(seed, k)), dtype=torch.float64)
        shaken = q.pixels + (sigma * drawn).to(q.pixels).reshape(q.pixels.shape)
        scores = IntegratedGradients(q.of_pixels).attribute(shaken, torch.zeros_like(shaken), target=q.target, n_steps=steps, method="gausslegendre")
        maps.append(scores[0].sum(0).double())
    maps = torch.stack(maps)
    out = {"mean": maps.mean(0), "deviation": maps.std(0, correction=0), "sigma": torch.tensor(sigma), "target": torch.tensor([q.target])}
    out = {name: value.float() if value.is_floating_point() else value for name, value in out.items()}
    about = q.about | {"steps": steps, "samples": samples, "noise": noise, "seed": seed, "baseline": "zeros", "maps": "sums over channels"}
    common.save(FOLDER / "smooth-grad.safetensors", out, about)
    print(f"smooth grad: sigma {sigma:.4f}, mean up to {maps.mean(0).abs().max():.4f}, deviation up to {out['deviation'].max():.4f}")


def rollout(patterns):
    """Half attention (mean of heads), half identity, rows summing to one; later layers multiply from the left."""
    joined = None
    for pattern in patterns:
        mixed = 0.5 * pattern.mean(1) + 0.5 * torch.eye(pattern.shape[-1])
        mixed = mixed / mixed.sum(-1, keepdim=True)
        joined = mixed if joined is None else mixed @ joined
    return joined


def attention_rollout(q, sites):
    depth, layers = q.model.config.vision_config.num_hidden_layers, q.model.config.text_config.num_hidden_layers
    vision = [sites[f"vision.blocks.{i}.attn.pattern"] for i in range(depth)]
    text = [sites[f"text.blocks.{i}.attn.pattern"] for i in range(layers)]
    out = {"vision": rollout(vision), "vision.read": rollout(vision[:-1]), "text": rollout(text)}
    for name in ("vision", "vision.read", "text"):
        assert (out[name].sum(-1) - 1).abs().max() < 1e-5
    about = q.about | {"vision.read": "the blocks before the features are read: all but the last", "axes": "batch query key"}
    common.save(FOLDER / "rollout.safetensors", out, about)


def logit_lens(q, sites, top=5):
    """The stream before the first block and after each, through the final norm and the unembedding."""
    layers = q.model.config.text_config.num_hidden_layers
    streams = [sites["text.blocks.0.resid_pre"]] + [sites[f"text.blocks.{i}.resid_post"] for i in range(layers)]
    with torch.no_grad():
        logits = torch.stack([q.model.lm_head(q.model.model.language_model.norm(x))[0] for x in streams])
    assert torch.equal(logits[-1], sites["logits"][0])
    logs = logits.log_softmax(-1)
    best = logs.topk(top, dim=-1)
    gap = (logs.topk(top + 1, dim=-1).values.diff(dim=-1).abs()).min()
    out = {
        "ids": best.indices,
        "log_probabilities": best.values,
        "entropy": -(logs.exp() * logs).sum(-1),
        "target_logit": logits[..., q.target],
        "target_rank": (logs > logs[..., q.target, None]).sum(-1),
        "kl_to_last": (logs[-1].exp() * (logs[-1] - logs)).sum(-1),
    }
    about = q.about | {"axes": "depth pos rank", "depth": "0 is the stream before block 0, i + 1 the stream after block i", "smallest_gap": gap.item()}
    common.save(FOLDER / "logit-lens.safetensors", out, about)
    print(f"logit lens: smallest gap between neighbouring ranks {gap:.2g}")


def patched(q, layer, position, state):
    """The last position's logits of `q` with its stream before block `layer` replaced at one position."""
    block = q.model.model.language_model.layers[layer]

    def hook(module, args, kwargs):
        x = args[0].clone()
        x[:, position] = state[:, position]
        return (x, *args[1:]), kwargs

    handle = block.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            return q.of_pixels(q.pixels)[0]
    finally:
        handle.remove()


def activation_patching(name, clean, corrupted, sites):
    """One pass for each block and position: the corrupted run with one state of the clean run put back."""
    assert clean.ids.shape == corrupted.ids.shape
    layers, length = clean.model.config.text_config.num_hidden_layers, clean.ids.shape[1]
    answer = clean.target
    other = int(corrupted.logits.argmax())
    assert other != answer, "the corruption does not change the answer"
    difference = lambda logits: logits[answer] - logits[other]
    target, contrast = torch.zeros(layers, length), torch.zeros(layers, length)
    for layer in range(layers):
        for position in range(length):
            logits = patched(corrupted, layer, position, sites[f"text.blocks.{layer}.resid_pre"])
            target[layer, position], contrast[layer, position] = logits[answer], difference(logits)
    # The state that the prediction is read from carries all of it once every earlier block is passed over.
    out = {
        "target": torch.tensor([answer]),
        "corrupted.input_ids": corrupted.ids,
        "corrupted.pixel_values": corrupted.pixels,
        "other": torch.tensor([other]),
        "clean.target_logit": clean.logits[answer],
        "clean.logit_difference": difference(clean.logits),
        "corrupted.target_logit": corrupted.logits[answer],
        "corrupted.logit_difference": difference(corrupted.logits),
        "target_logit": target,
        "logit_difference": contrast,
    }
    about = {"clean": clean.about, "corrupted": corrupted.about, "site": "text.blocks.LAYER.resid_pre", "axes": "layer pos"}
    about["metric"] = "logit of `target`, and that less the logit of `other`, at the last position"
    common.save(FOLDER / f"patching-{name}.safetensors", out, about)
    print(
        f"patching, {name}: target {answer} against {other}, clean {difference(clean.logits):.4f}, "
        f"corrupted {difference(corrupted.logits):.4f}, patched {contrast.min():.4f} to {contrast.max():.4f}"
    )


def main():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    q.save()
    sites, _, _ = trace.run(checkpoint, q.batch)
    integrated_gradients(q)
    occlusion(q)
    kernel_shap(Question(checkpoint, "<image>Red?", "wide"))
    smooth_grad(Question(checkpoint, "<image>Red?", "tall"))
    attention_rollout(q, sites)
    logit_lens(q, sites)
    activation_patching("picture", q, Question(checkpoint, "<image>Red?", "tall"), sites)
    activation_patching("question", q, Question(checkpoint, "<image>Big?", "square"), sites)
    common.why(
        FOLDER,
        "methods.py",
        "Explanations of one answer of llava-a, by captum 0.9 and by direct computation; its circuits by patching.py; shares and gradients of weights by direct.py; linear probes by probes.py; CKA by cka.py; the lens on the towers of clip-a by lens.py; the space that pictures and captions share by features.py; concepts by concepts.py; directions taken off by erasure.py; exchanged modalities by modality.py, their effects on log-odds and causal mediation by causal.py, CF-VQA by its authors' module in cfvqa.py, EMAP by least squares in emap.py, foils by pairs.py; neurons over data sets by neurons.py, what they write and groups of them by neuron_words.py, concepts by dissection.py; causal tracing of llava-a and gpt2-a by tracing.py; the first steps of tuning their lenses by tuned_lens.py; sinks and registers, tokens taken away, nearest words and words in context by tokens.py; sparse autoencoders by sae.py; maps by gradients, attention and parts by maps.py; patches swapped by region_swap.py; examples in prompts by in_context.py; decoders by several branches by decoding.py; entropies, drawn answers and calibration by uncertainty.py; chains of thought by reasoning.py; steering by steering.py; influence of training cases by training.py; differences of checkpoints by dynamics.py; concepts tested by their directions, sparse heads, bottlenecks and trees by design.py; prototypes by prototypes.py.",
        {"integrated gradients": 1e-3, "occlusion": 1e-3, "shares of parts": 1e-3, "smooth grad": 1e-3, "rollout": 1e-5, "lens": 1e-4, "patching": 1e-4, "circuits": 1e-3, "direct": 1e-5, "weights": 1e-4, "probes": 1e-4, "cka": 1e-4, "shared space": 2e-5, "concepts": 1e-6, "erasure": 1e-4, "modality": 1e-5, "effects and mediation": 2e-5, "cf-vqa": 5e-5, "emap": 5e-5, "pairs": 2e-5, "neurons": 1e-5, "tests of ranks": 1e-12, "value vectors": 1e-5, "group ablation": 1e-5, "dissection": 1e-5, "clip-dissect": 1e-4, "causal tracing": 1e-4, "tuned lens": 2e-4, "tokens": 1e-5, "sparse autoencoders": 2e-4, "maps": 1e-3, "decoding": 1e-5, "uncertainty": 2e-6, "ids": 0},
        "Relative to the largest absolute value. Gradients and differences of nearly equal logits lose digits that single logits keep. Top "
        "ids are exact: `smallest_gap` between neighbouring ranks is far above the error. Probes: both searches end where the gradient is "
        "all but zero. CKA is absolute, and of rows that are in the file 1e-9. What lies in the shared space is absolute, too: cosines and "
        "shares of vectors that are single precision. Concepts take the same steps in double precision from rows that are in the file. "
        "Neurons: activations in f32, ranked where neighbours are further apart than their error or equal in both; p-values are sums in "
        "double precision on both sides. CLIP-Dissect takes third powers and logarithms of small differences. Causal tracing: probabilities "
        "to 2e-5 or 1e-4 of the largest, logits to 1e-4, since passes begin at other blocks. Tuned lens: losses to 2e-5 or 1e-4 of the "
        "largest; weights to 2e-6 or 2e-4, since the gradient is divided by its norm. Tokens: weights and states, and their sums in another "
        "order; whether a position is found is exact: the nearest lies 1e-5 from its bound. Sparse autoencoders: Adam divides by the size of "
        "a gradient, so that rounding grows with the steps. Decoding: scores absolute, twice a logit less another, with a cache on one side; "
        "tokens and layers exact, the next ones 1e-4 away. "
        "Effects and mediation: absolute, differences of up to four log-odds or logits, 1e-5 of one token, 5e-5 of answers whose log-odds are as large as 40. "
        "CF-VQA: logarithms of sigmoids of such scores; constants to 1e-3, since their loss is flat around the least. Uncertainty: probabilities absolute; measures of given numbers to 1e-12.",
    )


if __name__ == "__main__":
    main()

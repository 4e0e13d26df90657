"""Checkpoint differences in NumPy: `fixtures/methods/checkpoint-difference-*.safetensors`.

The model after the training is the one before with the output of its first block scaled. States and logits are those of transformers, with hooks; the split, signs and random vectors are drawn from the rules that mmlens states.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace
from features import direction
from methods import FOLDER
from probes import at, unit

SEED, SCALE, STRENGTH, DRAWS = 5, 1.4, 0.8, 2
SIGNS, RANDOM = 1 << 32, 1 << 33
PICTURES = ["square", "wide", "tall", "tiny", "clip-0"]
PROMPTS = ["<image>Red?", "<image>Is it big", "<image>left of a"]


def run(model, layers, last, call, scaled=False, added=None):
    """The state behind every block at one place, and the distribution at the end as logarithms, of one case."""
    states, hooks = [None] * len(layers), []

    def hook(i):
        def behind(_, __, out):
            x = out[0] if isinstance(out, tuple) else out
            if scaled and i == 0:
                x = x * SCALE
            if added is not None and added[0] == i:
                x = x.clone()
                place = slice(None) if last is None else last
                x[:, place] = x[:, place] + torch.tensor(added[1]).float()
            states[i] = x[0].double().mean(0).numpy() if last is None else x[0, last].double().numpy()
            return (x, *out[1:]) if isinstance(out, tuple) else x

        return behind

    for i, layer in enumerate(layers):
        hooks.append(layer.register_forward_hook(hook(i)))
    with torch.no_grad():
        logits = call(model).logits
    for own in hooks:
        own.remove()
    logits = logits[0, -1] if logits.dim() == 3 else logits[0]
    return np.stack(states), torch.log_softmax(logits.double(), -1).numpy()


def compared(name, model, layers, last, calls):
    n, sites = len(calls), len(layers)
    before, after = [], []
    for call in calls:
        before.append(run(model, layers, last, call))
        after.append(run(model, layers, last, call, scaled=True))
    a, b = np.stack([s for s, _ in before]), np.stack([s for s, _ in after])
    d = b - a
    held = sorted(sorted(range(n), key=lambda i: (at(SEED, i), i))[: int(0.5 * n + 0.5)])
    kept = [i for i in range(n) if i not in held]
    sign = np.array([-1.0 if unit(at(SEED, SIGNS + i)) < 0.5 else 1.0 for i in range(n)])
    ratios, effect = [], []
    cos = lambda x, y: x @ y / np.sqrt(x @ x * (y @ y))
    for site in range(sites):
        x, y = a[:, site], d[:, site]
        signed = sign[:, None] * y
        apart, vector = (y**2).sum() / n, y.mean(0)
        ratios.append([
            np.sqrt((y**2).sum() / (x**2).sum()), np.sqrt(apart / (((x - x.mean(0)) ** 2).sum() / n)), (n * vector @ vector / apart - 1) / (n - 1),
            cos(y[kept].sum(0), y[held].sum(0)), cos(signed[kept].sum(0), signed[held].sum(0)),
        ])  # fmt: skip
        vector = y[kept].mean(0)
        kl = lambda p, q: float((np.exp(p) * (p - q)).sum())
        plain = np.mean([kl(after[i][1], before[i][1]) for i in held])
        own = np.mean([kl(after[i][1], run(model, layers, last, calls[i], added=(site, STRENGTH * vector))[1]) for i in held])
        drawn = []
        for i in held:
            for draw in range(DRAWS):
                other = np.linalg.norm(vector) * np.array(direction(len(vector), at(at(at(SEED, RANDOM + draw), i), site)))
                drawn.append(kl(after[i][1], run(model, layers, last, calls[i], added=(site, STRENGTH * other))[1]))
        effect.append([plain, own, np.mean(drawn)])
    out = {"difference": np.array(ratios), "effect": np.array(effect), "vectors": d.mean(0)}
    about = {"scale": SCALE, "strength": STRENGTH, "draws": DRAWS, "seed": SEED, "pictures": PICTURES, "prompts": PROMPTS}
    common.save(FOLDER / f"checkpoint-difference-{name}.safetensors", out, about)
    print(name, out["difference"], out["effect"])


def llava():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    calls = []
    for prompt in PROMPTS:
        for picture in PICTURES[:4]:
            batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [Image.open(pictures.FOLDER / f"{picture}.png")]}])
            calls.append(lambda model, batch=batch: model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False))
    model = checkpoint.model.eval()
    compared("llava-a", model, model.model.language_model.layers, -1, calls)


def vit():
    checkpoint = trace.open_checkpoint(FIXTURES / "vit-a" / "model")
    calls = []
    for picture in PICTURES:
        batch = trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}])
        calls.append(lambda model, batch=batch: model(pixel_values=batch.pixel_values))
    model = checkpoint.model.eval()
    compared("vit-a", model, model.vit.layers, None, calls)


if __name__ == "__main__":
    llava()
    vit()

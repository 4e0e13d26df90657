"""Maps of what an answer comes from, by captum and by hand: `fixtures/methods/{saliency,expected-gradients,grad-cam,relevance,surrogates}.safetensors`.

    python oracles/maps.py

- Slopes: captum's `Saliency` and `InputXGradient` on `llava-a` (pixels; pixels and embeddings) and `vit-a` (pixels).
- Expected gradients: the mean of captum's `InputBaselineXGradient`, whose draws are set to those that mmlens makes of a seed.
- Grad-CAM: values and gradients of a layer by hooks, weighed in NumPy.
- Relevance along attention: weights and their gradients by hooks, and the rules of Chefer, Gur and Wolf with all their matrices in NumPy.
- Parts that are there or not: LIME's line by scikit-learn's `Ridge` with the kernel of its authors, RISE's veils by SciPy, shares over drawn orders written out; draws as mmlens makes them of a seed.
"""

import common
import numpy as np
import shap
import torch
from captum.attr import InputXGradient, Saliency
from captum.attr._core.gradient_shap import InputBaselineXGradient
from common import FIXTURES
from methods import FOLDER, Question
from PIL import Image
from probes import at, unit
from scipy.ndimage import map_coordinates
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

import passes
import pictures
import trace

SEED, SAMPLES = 5, 6
QUESTION = "<image>Red?"


def opened(name):
    return trace.open_checkpoint(FIXTURES / name / "model")


def image(name):
    return Image.open(pictures.FOLDER / f"{name}.png").convert("RGB")


class Classes:
    """A classifier of pictures as a function of the pixels."""

    def __init__(self, name, picture):
        self.model = opened(name).model
        self.batch = lambda picture: trace.prepare(opened(name), [{"images": [image(picture)]}]).pixel_values
        self.pixels = self.batch(picture)
        with torch.no_grad():
            self.target = int(self.of_pixels(self.pixels)[0].argmax())

    def of_pixels(self, pixels):
        return self.model(pixel_values=pixels).logits


def largest(x):
    """Over channels of pixels, over the vector of a word."""
    return x[0].abs().amax(0 if x.ndim == 4 else -1)


def slopes(q, vit):
    out = {}
    for name, own in (("llava-a", q), ("vit-a", vit)):
        steep = Saliency(own.of_pixels).attribute(own.pixels, target=own.target)
        out[f"{name}/saliency/vision.pixels"] = largest(steep)
        signed = Saliency(own.of_pixels).attribute(own.pixels, target=own.target, abs=False)
        assert torch.equal(signed.abs(), steep)
        out[f"{name}/length/vision.pixels"] = signed.norm()[None]
        out[f"{name}/times input/vision.pixels"] = InputXGradient(own.of_pixels).attribute(own.pixels, target=own.target)[0].sum(0)
        out[f"{name}/target"] = torch.tensor([own.target])
    both = (q.pixels, q.embeds.detach())
    steep, signed = Saliency(q.of_both).attribute(both, target=q.target), InputXGradient(q.of_both).attribute(both, target=q.target)
    out["llava-a/saliency/text.embed"] = largest(steep[1])
    out["llava-a/times input/text.embed"] = signed[1][0].sum(-1)
    common.save(FOLDER / "saliency.safetensors", out, q.about)


def draws(count):
    """Of each draw which sample of the background it takes, and which place of the path."""
    each = [(at(at(SEED, k), 0), at(at(SEED, k), 1)) for k in range(SAMPLES)]
    return [(min(int(unit(which) * count), count - 1), unit(place)) for which, place in each]


def expected(of, values, background, target):
    """`values` and each of the `background` are tuples of what the sites hold."""
    kept, means, drawn = np.random.uniform, None, draws(len(background))
    for which, place in drawn:
        np.random.uniform = lambda low, high, size, place=place: np.full(size, place)
        found = InputBaselineXGradient(of).attribute(values, background[which], target=target)
        means = [x / SAMPLES for x in found] if means is None else [sum + x / SAMPLES for sum, x in zip(means, found)]
    np.random.uniform = kept
    return means, drawn


def expected_gradients(q, vit):
    own = {"llava-a": q, "vit-a": vit}
    others = ["tall", "wide", "tiny"]
    out = {}
    for name, own in own.items():
        seen = [Question(q.checkpoint, QUESTION, other).pixels if name == "llava-a" else own.batch(other) for other in others]
        (pixels,), drawn = expected(own.of_pixels, (own.pixels,), [(x,) for x in seen], own.target)
        out[f"{name}/vision.pixels"] = pixels[0].sum(0)
        with torch.no_grad():
            out[f"{name}/at baseline"] = torch.stack([own.of_pixels(seen[which])[0, own.target] for which, _ in drawn]).mean()[None]
        print(f"expected gradients, {name}: sum {pixels.sum():.5f}, drawn {drawn}")
    # Pictures with the same words, and other words with the same picture.
    other = Question(q.checkpoint, "<image>Big?", "square")
    assert other.ids.shape == q.ids.shape
    words = q.embeds.detach()
    seen = [(Question(q.checkpoint, QUESTION, name).pixels, words) for name in others] + [(q.pixels, other.embeds.detach())]
    (pixels, embeds), drawn = expected(q.of_both, (q.pixels, words), seen, q.target)
    out |= {"joint/vision.pixels": pixels[0].sum(0), "joint/text.embed": embeds[0].sum(-1)}
    about = q.about | {"seed": SEED, "samples": SAMPLES, "pictures": others, "text": "<image>Big?", "drawn": drawn}
    common.save(FOLDER / "expected-gradients.safetensors", out, about)


def recorded(checkpoint, row, sites):
    batch = trace.prepare(checkpoint, [row])
    values, slopes, target = passes.run(checkpoint, batch, grads=sites, check=False)
    own = {site: (values[site].detach().double().numpy(), slopes[site].double().numpy()) for site in sites}
    return own, batch, int(target[0])


def cams(values, slopes, before):
    """Of every picture or tile the map with mean weights and that element by element, neither cut at zero."""
    values, slopes = values[:, before:], slopes[:, before:]
    means = slopes.mean(1, keepdims=True)
    left = np.abs(means).sum((1, 2)) / np.abs(slopes).mean(1).sum(-1)
    return {"mean": (means * values).sum(-1), "each": (slopes * values).sum(-1), "left": left}


def grad_cam():
    out, about = {}, {}
    cases = {
        "llava-a": ({"images": [image("square")], "prompt": QUESTION}, "vision.features", 0),
        "clip-a": ({"images": [image("square")], "texts": ["a photo of a red circle"]}, None, 1),
        "llava-next-a": ({"images": [image("wide")], "prompt": QUESTION}, "vision.features", 0),
    }
    for name, (row, site, before) in cases.items():
        checkpoint = opened(name)
        site = site or f"vision.blocks.{checkpoint.model.config.vision_config.num_hidden_layers - 2}.resid_pre"
        own, _, target = recorded(checkpoint, row, [site])
        values, slopes = own[site]
        out |= {f"{name}/{what}": x for what, x in cams(values, slopes, before).items()} | {f"{name}/target": np.array([target])}
        about[name] = site
        print(f"Grad-CAM, {name}: {site} {values.shape}, left of gradients {out[f'{name}/left']}")
    common.save(FOLDER / "grad-cam.safetensors", {name: torch.tensor(x) for name, x in out.items()}, {"sites": about, "prompt": QUESTION})


def raised(weights, slopes):
    return np.maximum(weights * slopes, 0).mean(1)


def rows(matrix):
    """N(R): rows of what was added divided by their sums, and ones on the diagonal."""
    added = matrix - np.eye(len(matrix))
    sums = added.sum(-1, keepdims=True)
    return np.divide(added, sums, out=np.zeros_like(added), where=sums != 0) + np.eye(len(matrix))


def along(layers, size):
    joined = np.eye(size)
    for layer in layers:
        joined = joined + layer @ joined
    return joined


def relevance():
    out = {}

    def layers(own, part, point="attn", row=0):
        names = sorted((s for s in own if s.startswith(f"{part}.") and f".{point}." in s), key=lambda s: int(s.split(".")[2]))
        return [raised(*own[name])[row] for name in names]

    def sites(part, blocks, point="attn"):
        return [f"{part}.blocks.{i}.{point}.pattern" for i in range(blocks)]

    # A decoder, and on through the tower: its last block is not read.
    checkpoint = opened("llava-a")
    config = checkpoint.model.config
    depth, blocks = config.vision_config.num_hidden_layers, config.text_config.num_hidden_layers
    row = {"images": [image("square")], "prompt": QUESTION}
    own, batch, target = recorded(checkpoint, row, sites("text", blocks) + sites("vision", depth - 1))
    text = layers(own, "text")
    size = text[0].shape[0]
    words = along(text, size)[-1] - np.eye(size)[-1]
    holes = (batch.input_ids[0] == config.image_token_id).numpy()
    tower = layers(own, "vision")
    shares = np.concatenate([np.zeros(tower[0].shape[0] - holes.sum()), words[holes]])
    out |= {"llava-a/tokens": words, "llava-a/through the tower": shares @ along(tower, len(shares)), "llava-a/target": np.array([target])}
    one = along(text[-1:], size)[-1] - np.eye(size)[-1]
    out["llava-a/last"] = one

    # Two towers, each by itself.
    checkpoint = opened("clip-a")
    config = checkpoint.model.config
    row = {"images": [image("square")], "texts": ["a photo of a red circle"]}
    own, batch, _ = recorded(checkpoint, row, sites("text", config.text_config.num_hidden_layers) + sites("vision", config.vision_config.num_hidden_layers))
    for last in (None, 1):
        for part, at in (("text", -1), ("vision", 0)):
            own_layers = layers(own, part)[-last if last else None :]
            size = own_layers[0].shape[0]
            out[f"clip-a/{part}/{last or 'all'}"] = along(own_layers, size)[at] - np.eye(size)[at]

    # Words that look at patches from outside.
    for name, row in (("blip-a", {"images": [image("wide")], "prompt": "a photo of"}), ("blip-itm", {"images": [image("square")], "texts": ["a red circle"]})):
        checkpoint = opened(name)
        config = checkpoint.model.config
        blocks = config.text_config.num_hidden_layers
        wanted = sites("text", blocks) + sites("text", blocks, "cross") + sites("vision", config.vision_config.num_hidden_layers)
        own, batch, target = recorded(checkpoint, row, wanted)
        tower, among, across = layers(own, "vision"), layers(own, "text"), layers(own, "text", "cross")
        seen = rows(along(tower, tower[0].shape[0]))
        words, patches = np.eye(among[0].shape[0]), np.zeros(across[0].shape)
        for self, cross in zip(among, across):
            words, patches = words + self @ words, patches + self @ patches
            patches = patches + rows(words).T @ cross @ seen
        at = 0 if name == "blip-itm" else -1
        out |= {f"{name}/tokens": words[at] - np.eye(len(words))[at], f"{name}/picture": patches[at], f"{name}/target": np.array([target])}
        print(f"relevance, {name}: words {words.shape}, patches {patches.shape}, sums {out[f'{name}/tokens'].sum():.4f} {patches[at].sum():.4f}")
    common.save(FOLDER / "relevance.safetensors", {name: torch.tensor(x) for name, x in out.items()}, {"prompt": QUESTION})


class Parts:
    """Cells of a grid, and words by their positions, that can be absent: zero after normalisation, a vector of zeros where the stream begins."""

    def __init__(self, of, values, target, side, words=()):
        self.of, self.values, self.target, self.side, self.words = of, values, target, side, words
        self.count = side * side + len(words)
        self.known = {}

    def score(self, present):
        present = tuple(map(int, present))
        if present not in self.known:
            pixels, *embeds = (x.clone() for x in self.values)
            high, wide = (n // self.side for n in pixels.shape[2:])
            for there, (r, c) in zip(present, np.ndindex(self.side, self.side)):
                if not there:
                    pixels[:, :, r * high : (r + 1) * high, c * wide : (c + 1) * wide] = 0
            for there, place in zip(present[self.side**2 :], self.words):
                if not there:
                    embeds[0][:, place] = 0
            with torch.no_grad():
                self.known[present] = float(self.of(pixels, *embeds)[0, self.target])
        return self.known[present]


def lime(parts, samples=60, width=0.25, alpha=1.0):
    draws = [[1] * parts.count] + [[int(unit(at(at(SEED, k), i)) < 0.5) for i in range(parts.count)] for k in range(1, samples)]
    z, y = np.array(draws, dtype=float), np.array([parts.score(draw) for draw in draws])
    # The cosine distance to the whole sample, and the authors' kernel of it.
    distance = pairwise_distances(z, z[:1], metric="cosine")[:, 0]
    weights = np.sqrt(np.exp(-(distance**2) / width**2))
    line = Ridge(alpha=alpha, fit_intercept=True).fit(z, y, sample_weight=weights)
    return {"coefficients": line.coef_, "intercept": np.array([line.intercept_]), "explained": np.array([line.score(z, y, sample_weight=weights)])}


def rise(of, pixels, target, samples=24, cells=3, map=6, open=0.5):
    """Veils as the paper makes them: a coarse grid blown up by one cell more than there are, and shifted by a part of a cell."""

    def veil(k, rows, cols):
        seed = at(at(SEED, k), 0)
        shift = [unit(at(seed, side)) for side in (0, 1)]
        grid = np.array([float(unit(at(seed, 2 + cell)) < open) for cell in range(cells * cells)]).reshape(cells, cells)
        place = lambda n, shift: ((np.arange(n) + 0.5) / n * cells + shift) * cells / (cells + 1) - 0.5
        down, across = place(rows, shift[0]), place(cols, shift[1])
        return map_coordinates(grid, np.meshgrid(down, across, indexing="ij"), order=1, mode="nearest")

    scores, maps = [], []
    for k in range(samples):
        seen = torch.tensor(veil(k, *pixels.shape[2:])).to(pixels)
        with torch.no_grad():
            scores.append(float(of(pixels * seen)[0, target]))
        maps.append(veil(k, map, map))
    scores, maps = np.array(scores), np.stack(maps)
    apart = (scores - scores.mean())[:, None, None]
    # What the mean score shares with every veil is no part of the error.
    error = (apart * (maps - maps.mean(0)) / open).std(0, ddof=1) / np.sqrt(samples)
    return {"map": (apart * maps / open).mean(0), "error": error, "behind": np.array([scores.mean()])}


def shares(parts, orders=3):
    """The mean over some orders and the reverse of each of what every player adds to those before it."""
    total = []
    for k in range(orders):
        order = sorted(range(parts.count), key=lambda i: at(at(SEED, k), i))
        own = np.zeros(parts.count)
        for walk in (order, order[::-1]):
            present = [0] * parts.count
            for player in walk:
                before = parts.score(present)
                present[player] = 1
                own[player] += (parts.score(present) - before) / 2
        total.append(own)
    total = np.stack(total)
    size = np.abs(total.mean(0))
    return {"shares": total.mean(0), "errors": total.std(0, ddof=1) / np.sqrt(orders), "left": np.array([abs(total.mean(0).sum()) / size.sum()])}


class Fits:
    """How well a caption fits a picture, as a function of the pixels and of what enters the first layer among words."""

    def __init__(self, name, picture, caption):
        checkpoint = opened(name)
        self.model = checkpoint.model
        batch = trace.prepare(checkpoint, [{"images": [image(picture)], "texts": [caption]}])
        self.given, self.pixels, self.ids = batch.kwargs(), batch.pixel_values, batch.input_ids
        with torch.no_grad():
            self.states = self.model.text_model.embeddings(self.ids)

    def of_both(self, pixels, states):
        hook = self.model.text_model.embeddings.register_forward_hook(lambda *_: states)
        found = self.model(**self.given | {"pixel_values": pixels}).logits_per_image
        hook.remove()
        return found


def by_shap(parts):
    """shap's own, which takes every coalition."""
    found = shap.ExactExplainer(lambda z: np.array([parts.score(row) for row in z]), shap.maskers.Independent(np.zeros((1, parts.count)), max_samples=1))
    return found(np.ones((1, parts.count))).values[0]


CAPTION = "red"


def surrogates(q, vit):
    asked = Question(q.checkpoint, QUESTION, "wide")
    holes = (asked.ids[0] == asked.model.config.image_token_id).nonzero()[:, 0]
    words = list(range(int(holes[-1]) + 1, asked.ids.shape[1] - 1))
    both = Parts(asked.of_both, (asked.pixels, asked.embeds.detach()), asked.target, 2, words)
    seen = Parts(vit.of_pixels, (vit.pixels,), vit.target, 3)
    fits = Fits("clip-a", "wide", CAPTION)
    # Between the marker in front and that at the end, where the caption is read.
    said = list(range(1, fits.ids.shape[1] - 1))
    side = next(side for side in range(1, 9) if side * side >= len(said))
    compared = Parts(fits.of_both, (fits.pixels, fits.states), 0, side, said)
    assert fits.pixels.shape[2] % side == 0, (side, fits.pixels.shape)
    print("clip-a: words at", said, "cells", side)
    out = {}
    for name, found in (
        ("clip-a/lime", lime(compared)),
        ("clip-a/orders", shares(compared) | {"exact": by_shap(compared)}),
        ("vit-a/orders", shares(Parts(vit.of_pixels, (vit.pixels,), vit.target, 2))),
        ("llava-a/lime", lime(both)),
        ("vit-a/lime", lime(seen)),
        ("llava-a/rise", rise(q.of_pixels, q.pixels, q.target)),
        ("vit-a/rise", rise(vit.of_pixels, vit.pixels, vit.target)),
        ("llava-a/orders", shares(both)),
    ):
        out |= {f"{name}/{what}": x for what, x in found.items()}
        print(name, {what: np.round(x.ravel()[:4], 4).tolist() for what, x in found.items()})
    about = {"seed": SEED, "asked": QUESTION, "words": words, "caption": CAPTION, "hidden_value": "0 after normalisation; zeros where the stream begins"}
    common.save(FOLDER / "surrogates.safetensors", {name: torch.tensor(x) for name, x in out.items()}, about)


def main():
    q, vit = Question(opened("llava-a"), QUESTION, "square"), Classes("vit-a", "square")
    slopes(q, vit)
    expected_gradients(q, vit)
    grad_cam()
    relevance()
    surrogates(q, vit)


if __name__ == "__main__":
    main()

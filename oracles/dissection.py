"""Network Dissection and CLIP-Dissect in NumPy and torch: `fixtures/methods/{network-dissection,clip-dissect}.safetensors`.

Cases are the eight ways to lay the square picture down. Masks follow a rule (`inside`), which the tests repeat, and every overlap is counted pixel by pixel. CLIP-Dissect
names the neurons of `llava-a`'s tower by `clip-a`, whose activations and similarities come from transformers; its similarity functions follow the authors'.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace

SIDE, QUANTILE = 40, 0.05
NAMES = ["colour: a", "colour: b", "plain", "shape: c"]


def laid(i):
    """The square picture, turned `i % 4` quarters clockwise, and mirrored left to right first where `i > 3`."""
    image = Image.open(pictures.FOLDER / "square.png").convert("RGB")
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if i > 3 else image
    return [image, *(image.transpose(t) for t in (Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90))][i % 4]


def inside(name, case):
    """Whether each pixel lies in a mask, `[y, x]`; `None` where the case has none of that name."""
    k = NAMES.index(name)
    if (case + k) % 3 == 0:
        return None
    y, x = np.mgrid[:SIDE, :SIDE]
    return (x * (k + 2) + y * (5 - k) + 7 * case) % 60 < 14 + 6 * k


def values(name, part):
    """`[case][layer]` of `[patch, neuron]`."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    found = []
    for i in range(8):
        row = {"images": [laid(i)], "texts": ["a"]} if name.startswith("clip") else {"images": [laid(i)], "prompt": "<image>Red?"}
        batch = trace.prepare(checkpoint, [row])
        with torch.no_grad():
            sites = trace.run(checkpoint, batch)[0]
        layers = [sites[f"{part}.blocks.{k}.mlp.post"][0].numpy() for k in range(64) if f"{part}.blocks.{k}.mlp.post" in sites]
        if part == "text":
            seen = (batch.input_ids[0] == checkpoint.model.config.image_token_id).numpy()
            layers = [own[seen] for own in layers]
        else:
            # Without the class token.
            layers = [own[1:] for own in layers]
        found.append(layers)
    return found


def dissected(found):
    layers, cases = len(found[0]), len(found)
    patches, width = found[0][0].shape
    across = round(patches**0.5)
    cell = ((np.arange(SIDE) + 0.5) / (SIDE / across)).astype(int)
    category = [name.split(": ")[0] if ": " in name else "" for name in NAMES]
    iou, thresholds = np.zeros((layers, width, len(NAMES))), np.zeros((layers, width))
    for layer in range(layers):
        every = np.stack([case[layer] for case in found])
        m = max(int(QUANTILE * every[..., 0].size), 1)
        for unit in range(width):
            own = every[..., unit]
            threshold = np.sort(own.ravel())[::-1][m]
            thresholds[layer, unit] = threshold
            inter, area, marked = np.zeros(len(NAMES)), np.zeros(len(NAMES)), np.zeros(len(NAMES))
            for case in range(cases):
                mask = (own[case] > threshold).reshape(across, across)[cell][:, cell]
                masks = [inside(name, case) for name in NAMES]
                there = {category[k] for k, concept in enumerate(masks) if concept is not None}
                for k, concept in enumerate(masks):
                    marked[k] += mask.sum() if category[k] in there else 0
                    if concept is not None:
                        inter[k] += (mask & concept).sum()
                        area[k] += concept.sum()
            iou[layer, unit] = inter / (marked + area - inter)
    return {"every iou": iou, "threshold": thresholds, "pixels": area}


WORDS = ["a", "red", "big", "it is", "left of"]


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def less_of_all(scores, lam):
    """Scores `[unit, word]`, less what a word has with any unit."""
    most = scores.max(0)
    return scores - lam * (np.log(np.exp(scores - most).sum(0)) + most - np.log(len(scores)))


def similarities(p, a, top):
    """`p`: cosines `[case, word]`; `a`: activations `[case, unit]`. Each function as its authors have it, but for `top` examples."""
    out = {}
    unit = lambda x, least=0.0: x / np.maximum(np.linalg.norm(x, axis=0), least)
    out["cosine"] = unit(a).T @ unit(p)
    cubed = lambda x: unit((x - x.mean(0)) ** 3, 1e-3)
    out["cosine-cubed"] = cubed(a).T @ cubed(p)
    order = np.argsort(-a, axis=0, kind="stable")[:top]
    shares = softmax(10 * p, 1)
    weights = 0.998 - np.arange(top) / top * (0.998 - 0.97)
    soft = np.stack([np.log(1 + weights[:, None] * (shares[order[:, u]] - 1) + 1e-7).sum(0) for u in range(a.shape[1])])
    out["soft-wpmi"] = less_of_all(soft, 1.0)
    shares = softmax(2 * p, 1)
    hard = np.stack([np.log(shares[order[:, u]] + 1e-7).sum(0) for u in range(a.shape[1])])
    out["wpmi"] = less_of_all(hard, 0.6)
    return out


def named():
    found = values("llava-a", "vision")
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    cosines = []
    for i in range(8):
        with torch.no_grad():
            sites = trace.run(checkpoint, trace.prepare(checkpoint, [{"images": [laid(i)], "texts": WORDS}]))[0]
        cosines.append((sites["image_embeds"].double() @ sites["text_embeds"].double().T)[0].numpy())
    p = np.stack(cosines)
    layers = range(len(found[0]))
    a = np.stack([[case[layer].astype(np.float64).mean(0).astype(np.float32) for layer in layers] for case in found])
    flat = a.reshape(len(a), -1).astype(np.float64)
    out = {"cosine of words": p}
    for name, scores in similarities(p, flat, 4).items():
        out[name] = scores.reshape(*a.shape[1:], -1)
        best = np.sort(out[name], -1)
        print(name, "smallest gap", (best[..., -1] - best[..., -2]).min(), "of", np.abs(out[name]).max())
    return out


def main():
    out = {}
    for name, part in (("clip-a", "vision"), ("llava-a", "text")):
        tables = dissected(values(name, part))
        best = np.sort(tables["every iou"], -1)
        print(name, tables["every iou"].shape, "best", best[..., -1].max(), "smallest gap", (best[..., -1] - best[..., -2]).min(), tables["pixels"])
        out |= {f"{name}/{key}": torch.tensor(value, dtype=torch.float32) for key, value in tables.items()}
    common.save(FIXTURES / "methods" / "network-dissection.safetensors", out, {"quantile": QUANTILE, "names": NAMES})
    out = {key: torch.tensor(value, dtype=torch.float32) for key, value in named().items()}
    common.save(FIXTURES / "methods" / "clip-dissect.safetensors", out, {"words": WORDS, "top": 4})


if __name__ == "__main__":
    main()

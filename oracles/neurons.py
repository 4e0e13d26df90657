"""Neurons over a data set, in NumPy, SciPy and torch on transformers' activations: `fixtures/methods/neurons.safetensors`.

The cases are 18 questions about four pictures; of `llava-a` neurons of the language model are looked at where it reads the words between the picture and
the last one, of `clip-a` those of the tower at its class token and patches. Exemplars are the cases with the largest value of a neuron, LAPE follows the authors' script (kthvalue, topk),
selectivity SciPy's `mannwhitneyu` and `false_discovery_control`. `drawn.*` are rows of their own, with equal values among them.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image
from scipy.stats import false_discovery_control, mannwhitneyu
from sklearn.metrics import roc_auc_score

import pictures
import trace
from cka import CASES

TOP, QUANTILES = 3, (0.0, 0.5, 0.9, 1.0)
SHARE = 0.05
FILTER, MEMBER = {"llava-a": 0.9, "clip-a": 0.5}, {"llava-a": 0.8, "clip-a": 0.5}
# The first two pictures against the others.
LABELS = np.array([int(picture in ("tall", "tiny")) for picture, _ in CASES])


def rows(name, part, point, texts):
    """`[case][layer]` of `[row, neuron]`."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    found = []
    for picture, prompt in CASES:
        image = Image.open(pictures.FOLDER / f"{picture}.png")
        row = {"images": [image], "texts": ["a"]} if texts else {"images": [image], "prompt": prompt}
        with torch.no_grad():
            batch = trace.prepare(checkpoint, [row])
            sites = trace.run(checkpoint, batch)[0]
        chosen = slice(None)
        if part == "text":
            ids = batch.input_ids[0].tolist()
            chosen = slice(len(ids) - ids[::-1].index(checkpoint.model.config.image_token_id), len(ids) - 1)
        layers = [sites[f"{part}.blocks.{i}.{point}"][0][chosen].numpy() for i in range(64) if f"{part}.blocks.{i}.{point}" in sites]
        found.append(layers)
    return found


def exemplars(found):
    out = {}
    layers = range(len(found[0]))
    largest = np.stack([[case[layer].max(0) for layer in layers] for case in found])
    at = np.stack([[case[layer].argmax(0) for layer in layers] for case in found])
    # Stable: of equal values the earlier case comes first.
    order = np.argsort(-largest, axis=0, kind="stable")[:TOP]
    out["exemplars"] = np.moveaxis(np.take_along_axis(largest, order, 0), 0, -1)
    out["cases"] = np.moveaxis(order, 0, -1)
    # Counted from the first of the rows looked at.
    out["rows of exemplars"] = np.moveaxis(np.take_along_axis(at, order, 0), 0, -1)
    every = [np.concatenate([case[layer] for case in found]).astype(np.float64) for layer in layers]
    out["rate"] = np.stack([(own > 0).mean(0) for own in every])
    out["mean"] = np.stack([own.mean(0) for own in every])
    out["deviation"] = np.stack([own.std(0) for own in every])
    out["quantiles"] = np.stack([np.moveaxis(np.quantile(own, QUANTILES, axis=0), 0, -1) for own in every])
    return out


def purity(cases):
    of = LABELS[cases]
    return np.maximum((of == 0).mean(-1), (of == 1).mean(-1))


def lape(found, name):
    layers = range(len(found[0]))
    active = [[sum((case[layer] > 0).sum(0) for case, own in zip(found, LABELS) if own == k) for k in (0, 1)] for layer in layers]
    over_zero = torch.tensor(np.array(active)).permute(0, 2, 1).double()
    n = torch.tensor([sum(len(case[0]) for case, own in zip(found, LABELS) if own == k) for k in (0, 1)]).double()
    probs = over_zero / n
    normed = torch.nan_to_num(probs / probs.sum(-1, keepdim=True))
    entropy = -(normed * torch.where(normed > 0, normed.log(), 0)).sum(-1)
    flat = probs.flatten()
    above = flat.kthvalue(round(len(flat) * FILTER[name])).values
    left = torch.where((probs > above).any(-1), entropy, torch.inf).flatten()
    count = round(len(left) * SHARE)
    index = torch.argsort(left, stable=True)[:count]
    index = index[torch.isfinite(left[index])]
    bar = flat.kthvalue(round(len(flat) * MEMBER[name])).values
    members = torch.zeros_like(probs)
    width = entropy.shape[1]
    for unit in index.tolist():
        members[unit // width, unit % width] = (probs[unit // width, unit % width] > bar).double()
    return {"rates": probs.numpy(), "entropy": entropy.numpy(), "members": members.numpy(), "specific": index.numpy(), "threshold": left[index].max().numpy()}


def selectivity(found, pool):
    layers = range(len(found[0]))
    value = (lambda own: own.astype(np.float64).mean(0)) if pool == "mean" else (lambda own: own.max(0))
    # One number for each case, in single precision as it is kept.
    values = np.array([[value(case[layer]) for layer in layers] for case in found], dtype=np.float32)
    first = LABELS == 0
    flat = values.reshape(len(values), -1).astype(np.float64)
    p = np.array([mannwhitneyu(own[first], own[~first]).pvalue for own in flat.T])
    auroc = np.array([roc_auc_score(first, own) for own in flat.T])
    a, b = flat[first], flat[~first]
    pooled = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 2)
    d = np.divide(a.mean(0) - b.mean(0), pooled, out=np.zeros_like(pooled), where=pooled > 0)
    size = np.abs(a.mean(0)) + np.abs(b.mean(0))
    index = np.divide(a.mean(0) - b.mean(0), size, out=np.zeros_like(size), where=size > 0)
    shape = values.shape[1:]
    return {name: own.reshape(shape) for name, own in {"auroc": auroc, "p": p, "q": false_discovery_control(p), "d prime": d, "index": index}.items()}


def drawn():
    out = {}
    for name, (n1, n2, ties) in {"few": (5, 40, False), "tied": (6, 20, True), "many": (30, 25, False), "many-tied": (40, 60, True)}.items():
        rng = common.rng(0, f"neurons-{name}")
        values = rng.standard_normal((20, n1 + n2)) + np.linspace(0, 1.5, 20)[:, None] * (np.arange(n1 + n2) < n1)
        values = (np.round(values * 2) / 2 if ties else values).astype(np.float32)
        tests = [mannwhitneyu(own[:n1].astype(float), own[n1:].astype(float)) for own in values]
        p = np.array([test.pvalue for test in tests])
        out |= {f"drawn.{name}.values": values, f"drawn.{name}.first": np.array([n1]), f"drawn.{name}.u": np.array([test.statistic for test in tests])}
        out |= {f"drawn.{name}.p": p, f"drawn.{name}.q": false_discovery_control(p)}
    return out


def main():
    out = drawn()
    for name, part, texts in (("llava-a", "text", False), ("clip-a", "vision", True)):
        post = rows(name, part, "mlp.post", texts)
        gate = post if texts else rows(name, part, "mlp.gate", texts)
        tables = exemplars(post)
        tables["purity"] = purity(tables["cases"])
        tables |= {f"lape/{key}": value for key, value in lape(gate, name).items()}
        for pool in ("mean", "max"):
            tables |= {f"{pool}/{key}": value for key, value in selectivity(post, pool).items()}
        out |= {f"{name}/{key}": np.asarray(value) for key, value in tables.items()}
        print(name, {key: np.shape(value) for key, value in tables.items()})
        # Ranks are safe where neighbours are further apart than the error.
        gaps = -np.diff(tables["exemplars"], axis=-1)
        print("smallest gap of ranks", gaps[gaps > 0].min(initial=np.inf), "of", np.abs(tables["exemplars"]).max(), "equal", (gaps == 0).mean())
        print("specific", tables["lape/specific"], tables["lape/threshold"], "q", tables["mean/q"].min())
    double = lambda name: name.startswith("drawn.") and name[-2:] in (".p", ".q", ".u")
    save = {name: torch.tensor(value, dtype=torch.float64 if double(name) else torch.float32) for name, value in out.items()}
    about = {"cases": CASES, "labels": LABELS.tolist(), "top": TOP, "quantiles": QUANTILES, "filter": FILTER, "share": SHARE, "member": MEMBER}
    common.save(FIXTURES / "methods" / "neurons.safetensors", save, about)


if __name__ == "__main__":
    main()

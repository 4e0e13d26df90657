"""CKA in NumPy: `fixtures/methods/cka.safetensors`.

Kernels are written out, `n x n`, and HSIC as the papers have it: the trace of `K H L H` with `H = I - 1 1' / n`, and Song et al.'s `HSIC_1`
(2012, equation 5). Rows are drawn ones, which are in the file, and those of `llava-a` and `llava-b` in transformers over the same questions:
of the decoder what is at the last position, of the tower the mean over its positions. Orders are drawn from the rules that mmlens states.
"""

import common
import numpy as np
from common import FIXTURES
from PIL import Image

import pictures
import trace
from probes import at

SEED, BATCH = 11, 5
SHUFFLES = 1 << 33
PICTURES = ("square", "wide", "tall", "tiny")
PROMPTS = ("<image>Red?", "<image>Big?", "<image>Is it big", "<image>left of a", "<image>it")
CASES = [(picture, prompt) for prompt in PROMPTS for picture in PICTURES][:18]


def order(count, seed):
    return sorted(range(count), key=lambda i: (at(seed, i), i))


def hsic(k, l, unbiased):
    n = len(k)
    one = np.ones(n)
    if not unbiased:
        h = np.eye(n) - np.outer(one, one) / n
        return np.trace(k @ h @ l @ h) / (n - 1) ** 2
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    both = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    return both / (n * (n - 3))


def batches(count, size):
    """Of one size, but the last, which takes in what is left."""
    if size is None or count < 2 * size:
        return [range(count)]
    return [range(i * size, count if i == count // size - 1 else (i + 1) * size) for i in range(count // size)]


def cka(x, y, estimator, batch=None):
    """Of rows as they are, and with those of `y` shuffled within each batch."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    sums = np.zeros(4)
    for number, rows in enumerate(batches(len(x), batch)):
        a, b = x[rows], y[rows]
        shuffled = b[order(len(rows), at(SEED, SHUFFLES + number))]
        k, l, m = (rows @ rows.T for rows in (a, b, shuffled))
        unbiased = estimator != "full"
        sums += [hsic(k, l, unbiased), hsic(k, m, unbiased), hsic(k, k, unbiased), hsic(l, l, unbiased)]
    return sums[0] / np.sqrt(sums[2] * sums[3]), sums[1] / np.sqrt(sums[2] * sums[3])


ESTIMATORS = {"full": None, "debiased": None, "minibatch": BATCH}


def drawn(name, count, left, right, shared):
    rng = common.rng(0, f"cka-{name}")
    both = rng.standard_normal((count, shared))
    x = both @ rng.standard_normal((shared, left)) + rng.standard_normal((count, left)) + 3.0
    y = both @ rng.standard_normal((shared, right)) + 0.5 * rng.standard_normal((count, right)) - 1.0
    x, y = x.astype(np.float32), y.astype(np.float32)
    out = {f"{name}.left": x, f"{name}.right": y}
    for estimator, batch in ESTIMATORS.items():
        out[f"{name}.{estimator}"] = np.array(cka(x, y, estimator, batch))
        print(f"{name:12} {estimator:10} {out[f'{name}.{estimator}']}")
    return out


def rows(name, blocks, tower):
    """A row for each case, of every site: the decoder's, then the tower's."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    found = []
    for picture, prompt in CASES:
        image = Image.open(pictures.FOLDER / f"{picture}.png")
        sites, _, _ = trace.run(checkpoint, trace.prepare(checkpoint, [{"prompt": prompt, "images": [image]}]))
        text = [sites[f"text.blocks.{i}.resid_post"][0, -1].double() for i in range(blocks)]
        seen = [sites[f"vision.blocks.{i}.resid_post"][0].double().mean(0) for i in range(tower)]
        found.append([x.numpy() for x in text + seen])
    return [np.stack(site) for site in zip(*found)]


def main():
    out = drawn("tall", 60, 12, 7, 3) | drawn("wide", 11, 30, 21, 2) | drawn("short", 9, 4, 40, 4)
    models = {"llava-a": rows("llava-a", 3, 4), "llava-b": rows("llava-b", 2, 3)}
    # Seeded batches take cases in an order of their own.
    taken = order(len(CASES), SEED)
    for name, (left, right) in {"one": ("llava-a", "llava-a"), "two": ("llava-a", "llava-b")}.items():
        for estimator, batch in ESTIMATORS.items():
            pick = taken if batch else slice(None)
            table = [[cka(x[pick], y[pick], estimator, batch) for y in models[right]] for x in models[left]]
            table = np.array(table)
            out[f"{name}.{estimator}"], out[f"{name}.{estimator}.shuffled"] = table[..., 0], table[..., 1]
            print(f"{name:4} {estimator:10} {table[..., 0].min():.4f} to {table[..., 0].max():.4f}, shuffled {table[..., 1].mean():.4f}")
    about = {"seed": SEED, "batch": BATCH, "cases": CASES, "library": "numpy " + np.__version__}
    common.save(FIXTURES / "methods" / "cka.safetensors", out, about)


if __name__ == "__main__":
    main()

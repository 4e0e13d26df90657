"""Concepts in rows that are in the file: `fixtures/methods/concepts.safetensors`.

k-means (Lloyd) and NMF (`cd`) by scikit-learn from starts drawn by the rules that mmlens states, semi-NMF written out in NumPy; amounts of held-out rows by SciPy's `nnls`, principal components by
SVD.
"""

import warnings

import common
import numpy as np
from common import FIXTURES
from scipy.optimize import nnls
from sklearn.cluster import KMeans
from sklearn.decomposition import non_negative_factorization

from features import normal, order
from probes import at, unit

SEED, COUNT, STARTS, ROUNDS, SHARE, DRAWS = 6, 3, 2, 40, 0.25, 2
RANDOM = 1 << 32


def held_out(groups):
    names = sorted(set(groups))
    drawn = sorted((at(SEED, i), group) for i, group in enumerate(names))
    chosen = {group for _, group in drawn[: min(max(int(SHARE * len(names) + 0.5), 1), len(names) - 1)]}
    return np.array([group in chosen for group in groups])


def plus_plus(rows, seed):
    chosen = [int(unit(at(seed, 0)) * len(rows))]
    distances = np.full(len(rows), np.inf)
    while len(chosen) < COUNT:
        distances = np.minimum(distances, ((rows - rows[chosen[-1]]) ** 2).sum(1))
        place = unit(at(seed, len(chosen))) * distances.sum()
        chosen.append(int(np.argmax(np.cumsum(distances) > place)))
    return rows[chosen]


def kmeans(rows):
    best = None
    for start in range(STARTS):
        model = KMeans(COUNT, init=plus_plus(rows, at(SEED, start)), n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(rows)
        if best is None or model.inertia_ < best.inertia_:
            best = model
    return best.cluster_centers_, np.bincount(best.labels_, minlength=COUNT) / len(rows)


def start(rows, seed, both):
    n, d = rows.shape
    scale = np.sqrt(np.abs(rows).mean() / COUNT)
    g = scale * np.array([normal(at(seed, i)) for i in range(n * COUNT + COUNT * d)])
    w, h = np.abs(g[: n * COUNT]).reshape(n, COUNT), g[n * COUNT :].reshape(COUNT, d)
    return w, h if both else np.abs(h)


def nmf(rows, w, h):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return non_negative_factorization(rows, W=w, H=h, n_components=COUNT, init="custom", solver="cd", tol=0, max_iter=ROUNDS)[:2]


def semi(rows, w, h):
    for _ in range(ROUNDS):
        for k in range(COUNT):
            w[:, k] = np.maximum(0, w[:, k] + (rows - w @ h) @ h[k] / (h[k] @ h[k]))
        for k in range(COUNT):
            h[k] += w[:, k] @ (rows - w @ h) / (w[:, k] @ w[:, k])
    return w, h


def factors(rows, both):
    best = None
    for i in range(STARTS):
        w, h = (semi if both else nmf)(rows, *(x.copy() for x in start(rows, at(SEED, i), both)))
        error = ((rows - w @ h) ** 2).sum()
        if best is None or error < best[0]:
            best = error, w, h
    _, w, h = best
    lengths = np.linalg.norm(h, axis=1)
    return h / lengths[:, None], (w * lengths).sum(0) / (w * lengths).sum()


def made(by, rows, parts):
    if by == "kmeans":
        return parts[((rows[:, None] - parts) ** 2).sum(2).argmin(1)]
    return np.stack([nnls(parts.T, row)[0] @ parts for row in rows])


def main():
    rng = common.rng(0, "concepts")
    n, d = 48, 6
    parts = np.abs(rng.standard_normal((COUNT, d))) * (rng.random((COUNT, d)) > 0.4)
    rows = rng.exponential(size=(n, COUNT)) * (rng.random((n, COUNT)) > 0.5) @ parts + 0.1 * np.abs(rng.standard_normal((n, d)))
    rows = rows.astype(np.float32)
    groups = np.arange(n) // 3
    signed = (rows - rows.mean(0)).astype(np.float32)
    out = held_out([int(g) for g in groups])
    saved = {"rows": rows, "signed": signed, "groups": groups, "held_out": out.astype(np.uint8)}
    for by, given in (("kmeans", signed), ("nmf", rows), ("semi-nmf", signed)):
        x = given.astype(np.float64)
        kept, test = x[~out], x[out]
        own, share = kmeans(kept) if by == "kmeans" else factors(kept, by == "semi-nmf")
        mean = kept.mean(0)
        spread = lambda part: ((part - mean) ** 2).sum()
        error = lambda parts, part: ((part - made(by, part, parts)) ** 2).sum() / spread(part)
        random = np.mean([error(kept[order(len(kept), at(SEED, RANDOM + k))[:COUNT]], test) for k in range(DRAWS)])
        v = np.linalg.svd(kept - mean, full_matrices=False)[2][:COUNT]
        principal = 1 - (((test - mean) @ v.T) ** 2).sum() / spread(test)
        errors = [error(own, test), random, principal]
        print(by, "errors", np.round(errors, 4), "training", error(own, kept), "share", share)
        saved |= {f"{by}.parts": own, f"{by}.share": share, f"{by}.error": np.array(errors), f"{by}.training": np.array([error(own, kept)])}
    about = {"seed": SEED, "count": COUNT, "starts": STARTS, "rounds": ROUNDS, "held_out": SHARE, "draws": DRAWS, "library": f"scikit-learn {__import__('sklearn').__version__}"}
    path = common.save(FIXTURES / "methods" / "concepts.safetensors", saved, about)
    print(f"{path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

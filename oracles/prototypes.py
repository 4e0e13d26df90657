"""Prototype heads by NumPy and scikit-learn on drawn patches: `fixtures/methods/prototypes.safetensors`.

Cases of six patches; of each class some have a patch like one that is the class's own. Candidates are drawn as in mmlens (SplitMix64, smallest first), told apart by Welch's t (SciPy), and a logistic regression on scaled
activations is fitted by scikit-learn.
"""

import common
import numpy as np
import torch
from scipy.stats import ttest_ind
from sklearn.linear_model import LogisticRegression

from methods import FOLDER
from tracing import at

SEED, CASES, PATCHES, WIDTH = 5, 60, 6, 7
PER_CLASS, CANDIDATES, APART, EPSILON, C, HELD, TOP, DRAWS = 2, 12, 0.9, 1e-4, 0.7, 0.25, 4, 2
U = np.uint64


def order(n, seed):
    return [int(i) for i in np.argsort(at(U(seed), np.arange(n)), kind="stable")]


def held_out(groups):
    every = sorted(set(groups))
    draws = at(U(SEED), np.arange(len(every)))
    ranked = [g for _, g in sorted(zip(draws.tolist(), every))]
    count = min(max(round(HELD * len(every)), 1), len(every) - 1)
    return set(ranked[:count])


def drawn(classes):
    rng = common.rng(6, f"prototypes {classes}")
    labels = np.array([i % classes for i in range(CASES)])
    own = 3 * rng.standard_normal((classes, WIDTH))
    rows = rng.standard_normal((CASES, PATCHES, WIDTH))
    for case, label in enumerate(labels):
        if rng.random() < 0.8:
            rows[case, rng.integers(PATCHES)] = own[label] + 0.5 * rng.standard_normal(WIDTH)
    return rows.astype(np.float32), labels


def made(classes):
    rows, labels = drawn(classes)
    wide = rows.astype(np.float64)
    out = held_out(list(range(CASES)))
    learned = [i for i in range(CASES) if i not in out]
    held = [i for i in range(CASES) if i in out]
    inside = wide[learned].reshape(-1, WIDTH)
    scale = ((inside - inside.mean(0)) ** 2).sum(1).mean()

    def activation(case, prototype):
        others = [p for p in range(PATCHES) if (case, p) != prototype]
        apart = ((wide[case][others] - wide[prototype]) ** 2).sum(1) / scale
        return np.log((apart + 1) / (apart + EPSILON)).max()

    active = lambda cases, chosen: np.array([[activation(case, p) for p in chosen] for case in cases])
    patches = lambda label: [(case, p) for case in learned if labels[case] == label for p in range(PATCHES)]

    def taken(label, seed):
        all_ = patches(label)
        return [all_[i] for i in order(len(all_), seed)]

    chosen, of, distinct = [], [], []
    for label in range(classes):
        tried = []
        for place in taken(label, at(U(SEED), (1 << 36) + label))[:CANDIDATES]:
            values = np.array([activation(case, place) for case in learned])
            side = lambda inside: [v for v, case in zip(values, learned) if (labels[case] == label) == inside and case != place[0]]
            tried.append((ttest_ind(side(True), side(False), equal_var=False).statistic, place, values))
        tried.sort(key=lambda own: (-own[0], own[1]))
        kept = []
        for t, place, values in tried:
            if len(kept) < PER_CLASS and all(np.corrcoef(values, other)[0, 1] <= APART for _, _, other in kept):
                kept.append((t, place, values))
        chosen += [place for _, place, _ in kept]
        of += [label] * len(kept)
        distinct += [t for t, _, _ in kept]

    def head(x, y):
        mean, deviation = x.mean(0), x.std(0)
        model = LogisticRegression(C=C, tol=1e-12, max_iter=100000)
        model.fit((x - mean) / deviation, labels[learned])
        weights = model.coef_ / deviation
        return weights, model.intercept_ - weights @ mean, float((model.predict((y - mean) / deviation) == labels[held]).mean())

    told = active(held, chosen)
    weights, intercepts, accuracy = head(active(learned, chosen), told)
    chance = []
    for draw in range(DRAWS):
        random = [p for label in range(classes) for p in taken(label, at(at(U(SEED), (1 << 37) + draw), label))[: of.count(label)]]
        chance.append(head(active(learned, random), active(held, random))[2])
    means = head(wide[learned].mean(1), wide[held].mean(1))[2]
    counts = np.bincount(labels[learned], minlength=classes)
    purity = [np.mean([labels[held[i]] == label for i in np.argsort(-told[:, j], kind="stable")[:TOP]]) for j, label in enumerate(of)]
    print(classes, accuracy, chance, means, purity, np.round(distinct, 2), chosen)
    return {
        "rows": torch.tensor(rows.reshape(-1, WIDTH)),
        "labels": torch.tensor(labels),
        "prototypes": torch.tensor([case * PATCHES + p for case, p in chosen]),
        "distinctive": np.array(distinct),
        "purity": np.array(purity),
        "by chance": np.array([np.mean(labels[held] == label) for label in of]),
        "weights": weights,
        "intercepts": intercepts,
        "scores": np.array([accuracy, np.mean(chance), means, np.mean(labels[held] == counts.argmax())]),
    }


def main():
    out = {f"{classes}/{name}": torch.as_tensor(value) for classes in (2, 3) for name, value in made(classes).items()}
    about = {"seed": SEED, "patches": PATCHES, "per_class": PER_CLASS, "candidates": CANDIDATES, "apart": APART, "epsilon": EPSILON, "c": C, "held_out": HELD, "top": TOP, "draws": DRAWS}
    path = common.save(FOLDER / "prototypes.safetensors", out, about)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

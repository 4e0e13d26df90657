"""What scikit-learn learns from given rows: `fixtures/methods/linear-probe.safetensors`.

Rows, labels, groups and kinds are in the file. The split by group and the labels of the control task are drawn here anew, from the rules
that mmlens states: SplitMix64 of a seed and an item.
"""

import warnings

import common
import numpy as np
from common import FIXTURES
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

SEED, SHARE, C, WIDTH = 7, 0.25, 0.7, 5
MASK = (1 << 64) - 1


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def at(seed, item):
    return mix(seed ^ mix((item + 0x9E3779B97F4A7C15) & MASK))


def unit(seed):
    return float(np.float32(mix(seed) >> 40) / np.float32(1 << 24))


def held_out(groups):
    names = sorted(set(groups))
    drawn = sorted((at(SEED, i), group) for i, group in enumerate(names))
    count = min(max(round(SHARE * len(names)), 1), len(names) - 1)
    chosen = {group for _, group in drawn[:count]}
    return np.array([group in chosen for group in groups])


def control(labels, kinds, out):
    pool = np.sort(labels[~out])
    draws = at(SEED, 1 << 32)
    return np.array([pool[int(unit(at(draws, int(kind))) * len(pool))] for kind in kinds])


def fit(rows, labels, standardised):
    scaler = StandardScaler(with_mean=standardised, with_std=standardised).fit(rows)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=10000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(scaler.transform(rows), labels)
    deviation = scaler.scale_ if standardised else np.ones(rows.shape[1])
    mean = scaler.mean_ if standardised else np.zeros(rows.shape[1])
    weights = model.coef_ / deviation
    return model, scaler, weights, model.intercept_ - weights @ mean


def main():
    out = {}
    for classes in (2, 3):
        rng = common.rng(0, f"linear-probe-{classes}")
        count = 64
        labels = np.arange(count) % classes
        groups = np.arange(count) // classes // 2
        kinds = np.arange(count) * 5 % 11
        centres = rng.standard_normal((classes, WIDTH))
        scales = np.array([1.0, 30.0, 0.1, 1.0, 5.0])
        rows = ((0.5 * centres[labels] + rng.standard_normal((count, WIDTH))) * scales + 2.0).astype(np.float32)
        held = held_out([int(g) for g in groups])
        second = control(labels, kinds, held)
        name = f"{classes}"
        out |= {f"{name}.rows": rows, f"{name}.labels": labels, f"{name}.groups": groups, f"{name}.kinds": kinds}
        out |= {f"{name}.held_out": held.astype(np.uint8), f"{name}.control": second}
        for standardised in (False, True):
            model, scaler, weights, intercepts = fit(rows[~held].astype(np.float64), labels[~held], standardised)
            scaled = scaler.transform(rows.astype(np.float64))
            by_memory, other, _, _ = fit(rows[~held].astype(np.float64), second[~held], standardised)
            scores = [model.score(scaled[held], labels[held]), by_memory.score(other.transform(rows.astype(np.float64))[held], second[held])]
            scores.append(scores[0] - scores[1])
            scores.append(np.mean(labels[held] == np.bincount(labels[~held]).argmax()))
            logs = model.predict_log_proba(scaled)
            loss = [-np.mean(logs[part, labels[part]]) for part in (np.flatnonzero(~held), np.flatnonzero(held))]
            form = f"{name}.{'standardised' if standardised else 'plain'}"
            out |= {f"{form}.weights": weights, f"{form}.intercepts": intercepts, f"{form}.scores": np.array(scores)}
            out |= {f"{form}.probabilities": np.exp(logs[held]), f"{form}.log_loss": np.array(loss)}
            print(form, "scores", np.round(scores, 4), "loss", np.round(loss, 4), "steps", model.n_iter_)
    about = {"seed": SEED, "held_out": SHARE, "c": C, "library": "scikit-learn " + __import__("sklearn").__version__}
    common.save(FIXTURES / "methods" / "linear-probe.safetensors", out, about)


if __name__ == "__main__":
    main()

"""Concepts and surrogates: `fixtures/methods/concept-activation-vectors.safetensors` and others of the design room.

Activations and gradients are those of transformers; directions, scores and tests those of captum, scikit-learn and scipy. Draws follow the rules that mmlens states.
"""

import tempfile
from fractions import Fraction

import common
import numpy as np
import torch
from captum.concept import TCAV, Concept
from captum.concept._utils.classifier import Classifier
from common import FIXTURES
from PIL import Image
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch.utils.data import DataLoader

import pictures
import trace
from methods import FOLDER
from probes import at, unit

TCAV_SETTINGS = {"runs": 4, "held_out": 0.33, "seed": 5, "c": 0.5, "layer": 2}
# The last two groups have the explained label: the cases whose answer is asked about.
WORDS = ["Red?", "Is it big", "A cat.", "one two", "Red big", "See it?", "cat one", "big?", "two", "it is Red", "A big cat", "one"]
PICTURES = ["square", "wide", "tall", "tiny"]


def order(count, seed):
    return [i for _, i in sorted((at(seed, i), i) for i in range(count))]


class Fixed(Classifier):
    """scikit-learn's classifier on the rows learned from, as captum asks for one."""

    def __init__(self):
        self.model = None

    def train_and_eval(self, dataloader, **kwargs):
        rows, labels = (torch.cat(part).numpy() for part in zip(*dataloader))
        self.model = LogisticRegression(C=TCAV_SETTINGS["c"], tol=1e-12, max_iter=100000).fit(rows.astype(np.float64), labels)
        return {}

    def weights(self):
        own = torch.tensor(self.model.coef_ / np.linalg.norm(self.model.coef_))
        return torch.cat([-own, own]).float()

    def classes(self):
        return self.model.classes_.tolist()


class Rest(torch.nn.Module):
    """What a model makes of its stream at the last position."""

    def __init__(self, rest):
        super().__init__()
        self.site, self.rest = torch.nn.Identity(), rest

    def forward(self, h):
        return self.rest(self.site(h))


def activations(name, layer):
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    rows = []
    for i in range(36):
        words = WORDS[i % 12]
        if name == "llava-a":
            batch = trace.prepare(checkpoint, [{"prompt": f"<image>{words}", "images": [Image.open(pictures.FOLDER / f"{PICTURES[(i // 12 + i) % 4]}.png")]}])
        else:
            batch = trace.prepare(checkpoint, [{"prompt": words * (1 + i // 12), "images": []}])
        with torch.no_grad():
            rows.append(trace.run(checkpoint, batch)[0][f"text.blocks.{layer}.resid_post"][0, -1].float())
    model = checkpoint.model
    if name == "llava-a":
        rest = lambda h: model.lm_head(model.model.language_model.norm(h))
    else:
        rest = lambda h: model.lm_head(model.transformer.ln_f(h))
    return torch.stack(rows), rest


def of_case(i):
    """What a case is labelled as: a concept, random, explained."""
    return ["concept", "random", "random", "explained", "concept", "random"][i % 6]


def tcav(name):
    s = TCAV_SETTINGS
    rows, rest = activations(name, s["layer"])
    cases = {label: [i for i in range(len(rows)) if of_case(i) == label] for label in ("concept", "random", "explained")}
    concept, random = cases["concept"], cases["random"]
    size = min(len(concept), len(random) // 2)
    out = min(max(int(np.floor(s["held_out"] * size + 0.5)), 1), size - 1)
    h = rows[cases["explained"]]
    with torch.no_grad():
        target = int(rest(h)[0].argmax())
    found = {"scores": [], "accuracies": [], "magnitudes": [], "sensitivity": []}
    for label in ("concept", "random"):
        scores, accuracies, magnitudes, slopes = [], [], [], []
        for run in range(s["runs"]):
            seed = at(s["seed"], run)
            drawn = order(len(random), seed)
            others = [random[i] for i in drawn[:size]]
            own = [concept[i] for i in order(len(concept), at(seed, 1))[:size]] if label == "concept" else [random[i] for i in drawn[size : 2 * size]]
            data = [Concept(i, f"{label}-{run}-{i}", DataLoader(rows[part[out:]], batch_size=64)) for i, part in enumerate([others, own])]
            classifier = Fixed()
            with tempfile.TemporaryDirectory() as folder:
                measured = TCAV(Rest(rest), ["site"], model_id="rest", classifier=classifier, save_path=folder)
                result = measured.interpret(h, [data], target=target)
            key, = result
            scores.append(result[key]["site"]["sign_count"][1].item())
            held = np.concatenate([rows[others[:out]], rows[own[:out]]]).astype(np.float64)
            accuracies.append(classifier.model.score(held, [0] * out + [1] * out))
            x = h.clone().requires_grad_(True)
            (grads,) = torch.autograd.grad(rest(x)[:, target].sum(), x)
            own = grads.double() @ torch.tensor(classifier.model.coef_[0] / np.linalg.norm(classifier.model.coef_))
            assert abs(own.mean().item() - result[key]["site"]["magnitude"][1].item()) < 1e-5
            slopes.append(own)
            magnitudes.append((own.clamp(min=0).sum() / own.abs().sum()).item())
        found["scores"].append(scores)
        found["accuracies"].append(accuracies)
        found["magnitudes"].append(magnitudes)
        found["sensitivity"].append(torch.stack(slopes).mean(0).tolist())
    p = stats.ttest_ind(*found["scores"], equal_var=False).pvalue
    print("tcav", name, "scores", np.mean(found["scores"], 1), "accuracy", np.mean(found["accuracies"], 1), "p", p, "sizes", size, out, "target", target)
    tensors = {f"{name}.{key}": torch.tensor(value, dtype=torch.float64) for key, value in found.items()}
    return tensors | {f"{name}.p": torch.tensor([p], dtype=torch.float64)}, {f"{name}.target": target}


def concept_activation_vectors():
    tensors, about = {}, {"words": WORDS, "pictures": PICTURES} | TCAV_SETTINGS
    for name in ("llava-a", "gpt2-a"):
        own, told = tcav(name)
        tensors |= own
        about |= told
    common.save(FOLDER / "concept-activation-vectors.safetensors", tensors, about)


HEAD = {"alpha": 0.9, "lambdas": 12, "least": 0.01, "held_out": 0.25, "chosen_by": 0.25, "seed": 9}
CHOSEN_BY = 1 << 32


def held_out(groups, share, seed):
    names = sorted(set(groups))
    drawn = sorted((at(seed, i), group) for i, group in enumerate(names))
    count = min(max(int(np.floor(share * len(names) + 0.5)), 1), len(names) - 1)
    chosen = {group for _, group in drawn[:count]}
    return np.array([group in chosen for group in groups])


def elastic(rows, labels, lam, alpha):
    """scikit-learn's minimum; of several classes with all of their vectors."""
    model = LogisticRegression(solver="saga", C=1 / (len(rows) * lam), l1_ratio=alpha, tol=1e-12, max_iter=1000000, random_state=0)
    return model.fit(rows, labels)


def apart(groups, s):
    out = held_out([int(g) for g in groups], s["held_out"], s["seed"])
    left = np.flatnonzero(~out)
    by = held_out([int(g) for g in groups[left]], s["chosen_by"], at(s["seed"], CHOSEN_BY))
    return {"learned": left[~by], "by": left[by], "held": np.flatnonzero(out)}


def path_of(rows, labels, parts, s):
    """Heads of rows that are scaled over those learned from; the last of the four are the models."""
    classes = labels.max() + 1
    own = rows[parts["learned"]].astype(np.float64)
    scaled = (rows.astype(np.float64) - own.mean(0)) / own.std(0)
    x, y = scaled[parts["learned"]], labels[parts["learned"]]
    shares = np.bincount(y, minlength=classes) / len(y)
    left_over = np.eye(classes)[y] - shares
    slopes = np.abs(left_over.T @ x) / len(y)
    most = slopes.max() / s["alpha"]
    lambdas = most * s["least"] ** (np.arange(s["lambdas"]) / (s["lambdas"] - 1))
    weights, accuracies, models = [], [], []
    for lam in lambdas:
        model = elastic(x, y, lam, s["alpha"])
        weights.append(np.where(np.abs(model.coef_) < 1e-9, 0, model.coef_))
        accuracies.append([model.score(scaled[part], labels[part]) for part in parts.values()])
        models.append(model)
    return lambdas, weights, accuracies, models


def stability(rows, labels, parts, lam, s, draws=3):
    """What heads at one penalty share that are learned from draws of the rows, of each class as many as it has."""
    own = rows[parts["learned"]].astype(np.float64)
    scaled = (rows.astype(np.float64) - own.mean(0)) / own.std(0)
    x, y = scaled[parts["learned"]], labels[parts["learned"]]
    drawn = [np.arange(len(y))]
    for draw in range(draws):
        some = []
        for c in range(labels.max() + 1):
            of_class, seed = np.flatnonzero(y == c), at(at(s["seed"], (1 << 35) + draw), c)
            some += [of_class[int(unit(at(seed, i)) * len(of_class))] for i in range(len(of_class))]
        drawn.append(np.array(some))
    models = [elastic(x[some], y[some], lam, s["alpha"]) for some in drawn]
    said = [model.predict(scaled[parts["held"]]) for model in models]
    used = [np.flatnonzero((np.abs(model.coef_) >= 1e-9).any(0)) for model in models]
    pairs = [(i, j) for i in range(len(models)) for j in range(i)]
    often = lambda i: np.bincount(said[i], minlength=labels.max() + 1) / len(said[i])
    return np.mean([[np.mean(said[i] == said[j]), often(i) @ often(j), len(np.intersect1d(used[i], used[j])) / len(np.union1d(used[i], used[j]))] for i, j in pairs], 0)


def sparse_head(classes):
    s, name, width, count = HEAD, f"{classes}", 12, 120
    rng = common.rng(0, f"sparse-head-{classes}")
    labels, groups = np.arange(count) * 7 % 11 % classes, np.arange(count) // 2
    centres = 1.3 * rng.standard_normal((classes, width)) * (np.arange(width) < 5)
    rows = ((centres[labels] + rng.standard_normal((count, width))) * np.geomspace(0.1, 20, width) + 1.0).astype(np.float32)
    parts = apart(groups, s)
    lambdas, weights, accuracies, _ = path_of(rows, labels, parts, s)
    out, y = parts["held"], labels[parts["learned"]]
    nonzeros = [int((w != 0).sum()) for w in weights]
    print("sparse head", classes, "nonzeros", nonzeros, "held out", [round(a[2], 3) for a in accuracies])
    majority = np.mean(labels[out] == np.bincount(y).argmax())
    by = [a[1] for a in accuracies]
    stable = stability(rows, labels, parts, lambdas[next(i for i, own in enumerate(by) if own >= max(by) - 0.02)], s)
    print("stability", np.round(stable, 3))
    tensors = {"stability": stable, "rows": rows, "labels": labels, "groups": groups, "lambda": lambdas, "weights": np.array(weights), "accuracies": np.array(accuracies).T.copy(), "nonzeros": np.array(nonzeros, dtype=np.float64), "majority": np.array([majority])}
    return {f"{name}.{key}": torch.as_tensor(value) for key, value in tensors.items()}


def heads():
    common.save(FOLDER / "sparse-head.safetensors", sparse_head(2) | sparse_head(3), HEAD)


BOTTLENECK = {"alpha": 0.9, "lambdas": 8, "least": 1e-3, "held_out": 0.25, "chosen_by": 0.25, "seed": 11, "c": 0.7, "rest": 0.2, "within": 0.02}


def logits(model, rows):
    """Of two classes of the second against the first."""
    return rows @ model.coef_.T + model.intercept_


def added(x, labels, given, lam):
    """What is added to given scores: a linear function with a penalty on squares, by steps of Newton to the end."""
    x1, width = np.hstack([x, np.ones((len(x), 1))]), given.shape[1]
    strength = lam * np.tile(np.append(np.ones(x.shape[1]), 0), width)
    at = np.zeros(x1.shape[1] * width)
    for _ in range(50):
        scores = given + x1 @ at.reshape(width, -1).T
        every = np.hstack([np.zeros((len(x), 1)), scores]) if width == 1 else scores
        shares = np.exp(every - special.logsumexp(every, axis=1, keepdims=True))
        off = (shares - np.eye(every.shape[1])[labels])[:, -width:]
        slope = (off.T @ x1 / len(x)).ravel() + strength * at
        own = shares[:, -width:]
        curve = np.einsum("ni,ij,nk,nl->ikjl", own, np.eye(width), x1, x1) - np.einsum("ni,nj,nk,nl->ikjl", own, own, x1, x1)
        curve = curve.reshape(len(at), len(at)) / len(x) + np.diag(strength)
        at = at - np.linalg.lstsq(curve, slope, rcond=1e-12)[0]
    assert np.abs(slope).max() < 1e-13, np.abs(slope).max()
    weights = at.reshape(width, -1)
    free = weights[:, -1]
    return weights[:, :-1], free - (free.mean() if width > 1 else 0)


def bottleneck(classes):
    s, name, width, count = BOTTLENECK, f"{classes}", 9, 200
    rng = common.rng(0, f"bottleneck-{classes}")
    has = rng.random((count, 4)) < [0.5, 0.4, 0.3, 0.5]
    labels = ((has[:, 0] & has[:, 1]) + (classes - 2) * 2 * (~has[:, 0] & has[:, 2]) * 1).astype(np.int64)
    labels = np.where(rng.random(count) < 0.05, rng.integers(0, classes, count), labels)
    directions = rng.standard_normal((4, width))
    rows = (has @ directions + 0.7 * rng.standard_normal((count, width)) + 2.0 * np.eye(classes)[labels] @ rng.standard_normal((classes, width)) / 3).astype(np.float32)
    groups = np.arange(count) // 2
    parts = apart(groups, s)
    learned, held = parts["learned"], parts["held"]
    wide = rows.astype(np.float64)
    mean, deviation = wide[learned].mean(0), wide[learned].std(0)
    scaled = (wide - mean) / deviation
    margins, found = [], {"directions": [], "offsets": [], "lacking": [], "having": [], "concepts": []}
    for j in range(4):
        model = LogisticRegression(C=s["c"], tol=1e-12, max_iter=100000).fit(scaled[learned], has[learned, j])
        w = model.coef_[0] / deviation
        b = model.intercept_[0] - w @ mean
        own = (wide @ w + b) / np.linalg.norm(w)
        margins.append(own)
        found["directions"].append(w / np.linalg.norm(w))
        found["offsets"].append(b / np.linalg.norm(w))
        found["lacking"].append(own[learned][~has[learned, j]].mean())
        found["having"].append(own[learned][has[learned, j]].mean())
        right = (own[held] > 0) == has[held, j]
        found["concepts"].append((right[has[held, j]].mean() + right[~has[held, j]].mean()) / 2)
    margins = np.array(margins).T
    single = margins.astype(np.float32)
    lambdas, weights, accuracies, models = path_of(single, labels, parts, s)
    by = [a[1] for a in accuracies]
    kept = next(i for i, own in enumerate(by) if own >= max(by) - s["within"])
    own = single[learned].astype(np.float64)
    scale = own.std(0)
    head = models[kept]
    u = weights[kept] / scale
    a = head.intercept_ - u @ own.mean(0)
    score = lambda m: m @ u.T + a
    says = lambda scores: (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)
    given = score(margins)
    added_weights, added_free = added(scaled[learned], labels[learned], given[learned], s["rest"])
    hybrid = np.mean(says(given + scaled @ added_weights.T + added_free)[held] == labels[held])
    dense = LogisticRegression(C=s["c"], tol=1e-12, max_iter=100000).fit(scaled[learned], labels[learned]).score(scaled[held], labels[held])
    _, _, told, _ = path_of(has.astype(np.float32), labels, parts, s)
    by_truth = told[next(i for i, own in enumerate([t[1] for t in told]) if own >= max(t[1] for t in told) - s["within"])][2]
    majority = np.mean(labels[held] == np.bincount(labels[learned]).argmax())
    scores = [accuracies[kept][2], hybrid, dense, by_truth, majority]
    size = np.abs(weights[kept]).sum(0)
    order = [j for j in sorted(range(4), key=lambda j: -size[j]) if size[j] > 0]
    curve = []
    for steps in range(len(order) + 1):
        corrected = margins[held].copy()
        for j in order[:steps]:
            corrected[:, j] = np.where(has[held, j], found["having"][j], found["lacking"][j])
        curve.append(np.mean(says(score(corrected)) == labels[held]))
    print("bottleneck", classes, "step", kept, "accuracy, hybrid, all, truth, majority", np.round(scores, 3), "order", order, "curve", np.round(curve, 3), "concepts", np.round(found["concepts"], 3))
    stable = stability(single, labels, parts, lambdas[kept], s)
    print("stability", np.round(stable, 3))
    tensors = {"stability": stable, "rows": rows, "has": has.astype(np.uint8), "labels": labels.astype(np.uint8), "weights": weights[kept], "step": np.array([kept]), "scores": np.array(scores), "order": np.array(order), "truth": np.array(curve)}
    tensors |= {"rest": added_weights / deviation, "rest_intercepts": added_free - (added_weights / deviation) @ mean}
    tensors |= {key: np.array(value) for key, value in found.items()}
    return {f"{name}.{key}": torch.as_tensor(value) for key, value in tensors.items()}


def bottlenecks():
    common.save(FOLDER / "post-hoc-bottleneck.safetensors", bottleneck(2) | bottleneck(3), BOTTLENECK)


TREE = {"depths": [2, 4, 7], "least": 20, "learned": 428}
TIED = {"depth": 4, "least": 5, "learned": 90}


def tree():
    """Case i is of class i % 3. scikit-learn draws the order in which it looks at features: where every order gives one tree, no two splits are as good."""
    rng = common.rng(0, "decision-tree-a")
    labels = np.arange(600) % 3
    centres = rng.standard_normal((3, 6))
    rows = (centres[labels] + rng.standard_normal((600, 6))).astype(np.float32)
    out, n = {"rows": rows}, TREE["learned"]
    for depth in TREE["depths"]:
        models = [DecisionTreeClassifier(max_depth=depth, min_samples_leaf=TREE["least"], random_state=state).fit(rows[:n], labels[:n]) for state in range(20)]
        model = models[0]
        for other in models[1:]:
            assert np.array_equal(other.tree_.feature, model.tree_.feature) and np.array_equal(other.tree_.threshold, model.tree_.threshold)
        out[f"{depth}.said"] = model.predict(rows[n:])
        out[f"{depth}.importance"] = model.feature_importances_
        inner = model.tree_.feature >= 0
        # In preorder, what is below first.
        out[f"{depth}.features"] = model.tree_.feature[inner]
        out[f"{depth}.thresholds"] = model.tree_.threshold[inner]
        print("tree", depth, "held out", (model.predict(rows[n:]) == labels[n:]).mean(), "leaves", model.get_n_leaves())
    tied(out)
    common.save(FOLDER / "decision-tree.safetensors", {k: torch.as_tensor(v) for k, v in out.items()}, TREE | {f"tied_{k}": v for k, v in TIED.items()})


def impurity(labels):
    n = len(labels)
    return n - sum(Fraction(int(count) ** 2, n) for count in np.bincount(labels) if n)


def grown(rows, labels, depth, least):
    """In fractions, so that splits that are as good are: the first feature, and of it the lowest threshold."""
    best = None
    if depth and len(set(labels)) > 1:
        for feature in range(rows.shape[1]):
            values = sorted(set(rows[:, feature].tolist()))
            for low, high in zip(values, values[1:]):
                below = rows[:, feature] <= (low + high) / 2
                if least <= below.sum() <= len(labels) - least:
                    left = impurity(labels[below]) + impurity(labels[~below])
                    if best is None or left < best[0]:
                        best = (left, feature, (low + high) / 2)
    if best is None:
        return int(np.bincount(labels).argmax())
    _, feature, threshold = best
    below = rows[:, feature] <= threshold
    return feature, threshold, grown(rows[below], labels[below], depth - 1, least), grown(rows[~below], labels[~below], depth - 1, least)


def said(tree, row):
    while isinstance(tree, tuple):
        feature, threshold, below, above = tree
        tree = below if row[feature] <= threshold else above
    return tree


def splits(tree):
    return [tree[:2]] + splits(tree[2]) + splits(tree[3]) if isinstance(tree, tuple) else []


def tied(out):
    """Yes and no, as concepts are: many splits are as good, and scikit-learn takes one by chance."""
    rng = common.rng(0, "decision-tree-tied")
    rows = (rng.random((120, 7)) < 0.5).astype(np.float32)
    labels = np.where(rng.random(120) < 0.2, rng.integers(0, 3, 120), rows[:, 1] + rows[:, 3] * rows[:, 4]).astype(np.int64)
    n = TIED["learned"]
    drawn = [DecisionTreeClassifier(max_depth=TIED["depth"], min_samples_leaf=TIED["least"], random_state=state).fit(rows[:n], labels[:n]) for state in range(400)]
    model = grown(rows[:n].astype(np.float64), labels[:n], TIED["depth"], TIED["least"])
    own = splits(model)
    same = [other for other in drawn if [(int(f), float(t)) for f, t in zip(other.tree_.feature, other.tree_.threshold) if f >= 0] == own]
    print("tied", len({other.tree_.feature.tobytes() for other in drawn}), "trees of scikit-learn,", len(same), "of 400 are ours of", len(own), "splits")
    assert same
    features, thresholds = zip(*own)
    out |= {"tied.rows": rows, "tied.labels": labels, "tied.said": np.array([said(model, row) for row in rows])}
    out |= {"tied.features": np.array(features), "tied.thresholds": np.array(thresholds, dtype=np.float64), "tied.importance": same[0].feature_importances_}
    assert np.array_equal(same[0].predict(rows), out["tied.said"])


def main():
    concept_activation_vectors()
    heads()
    bottlenecks()
    tree()


if __name__ == "__main__":
    main()

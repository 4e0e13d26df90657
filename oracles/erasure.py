"""Directions taken off: `fixtures/methods/inlp.safetensors` and `project-away.safetensors`.

INLP with scikit-learn's probes on rows that are in the file, of two and three classes. ProjectAway in `llava-a` in transformers, by a hook behind a decoder layer: what points along a phrase is taken off the picture's positions.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from sklearn.linear_model import LogisticRegression

import trace
from features import direction
from methods import FOLDER, Question
from probes import at

SEED, SHARE, ROUNDS, DRAWS, WIDTH = 4, 0.25, 4, 2, 8
RANDOM = 1 << 32


def held_out(groups):
    names = sorted(set(groups))
    drawn = sorted((at(SEED, i), group) for i, group in enumerate(names))
    chosen = {group for _, group in drawn[: min(max(int(SHARE * len(names) + 0.5), 1), len(names) - 1)]}
    return np.array([group in chosen for group in groups])


def fit(rows, labels):
    return LogisticRegression(C=1.0, tol=1e-12, max_iter=100000).fit(rows, labels)


def span(directions):
    """Orthonormal, in their order."""
    found = []
    for own in directions:
        whole = np.linalg.norm(own)
        for _ in range(2):
            for other in found:
                own = own - (own @ other) * other
        if np.linalg.norm(own) > 1e-8 * whole:
            found.append(own / np.linalg.norm(own))
    return np.array(found)


def inlp(classes):
    rng = common.rng(0, f"inlp-{classes}")
    count = 90
    labels = np.arange(count) % classes
    groups = np.arange(count) // 3
    centres = 1.2 * rng.standard_normal((classes, WIDTH))
    rows = (centres[labels] * (rng.random(count) > 0.15)[:, None] + rng.standard_normal((count, WIDTH)) + 1.0).astype(np.float32)
    out = held_out([int(g) for g in groups])
    x = rows.astype(np.float64)
    majority = np.mean(labels[out] == np.bincount(labels[~out]).argmax())
    found, accuracy = np.zeros((0, WIDTH)), []
    less = lambda b: x - x @ b.T @ b
    for round in range(ROUNDS + 1):
        model = fit(less(found)[~out], labels[~out])
        accuracy.append(model.score(less(found)[out], labels[out]))
        if accuracy[-1] <= majority or round == ROUNDS:
            break
        found = span([*found, *model.coef_])
    random = []
    for k in range(DRAWS):
        drawn = span([direction(WIDTH, at(at(SEED, RANDOM + k), i)) for i in range(len(found))])
        random.append(fit(less(drawn)[~out], labels[~out]).score(less(drawn)[out], labels[out]))
    print("inlp", classes, "accuracy", accuracy, "random", random, "majority", majority, "directions", len(found))
    name = f"{classes}"
    return {
        f"{name}.rows": rows,
        f"{name}.labels": labels,
        f"{name}.groups": groups,
        f"{name}.accuracy": np.array(accuracy),
        f"{name}.scores": np.array([accuracy[0], accuracy[-1], np.mean(random), majority]),
        f"{name}.projection": found.T @ found,
    }


AWAY = {"phrase": "Red", "layer": 1, "weight": 1.5, "draws": 3, "seed": 8}


def away():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    layers, head = q.model.model.language_model.layers, q.model.lm_head.weight.detach().double()
    ids = checkpoint.tokenizer.encode(AWAY["phrase"], add_special_tokens=False)
    t = head[ids].mean(0)
    shown = (torch.as_tensor(q.batch.input_ids)[0] == q.model.config.image_token_id).nonzero()[:, 0]
    with torch.no_grad():
        states = trace.run(checkpoint, q.batch)[0][f"text.blocks.{AWAY['layer']}.resid_post"][0, shown].double()
    off = lambda t: AWAY["weight"] * (states @ t / (t @ t)).clamp(min=0)[:, None] * t

    def logit(off):
        def hook(layer, args, out):
            x = out[0] if isinstance(out, tuple) else out
            x = x.clone()
            x[0, shown] = (x[0, shown].double() - off).float()
            return (x, *out[1:]) if isinstance(out, tuple) else x

        handle = layers[AWAY["layer"]].register_forward_hook(hook)
        with torch.no_grad():
            found = q.of_pixels(q.pixels)[0, q.target].double()
        handle.remove()
        return found

    whole = q.logits[q.target].double()
    drawn = [torch.from_numpy(direction(len(t), at(AWAY["seed"], k))) for k in range(AWAY["draws"])]
    changes = torch.stack([logit(off(own)) for own in drawn]) - whole
    change = logit(off(t)) - whole
    square = (states**2).sum()
    shares = torch.stack([(off(t) ** 2).sum() / square, torch.stack([(off(own) ** 2).sum() / square for own in drawn]).mean()])
    p = (1 + (changes.abs() >= change.abs()).sum()) / (1 + AWAY["draws"])
    print("away", ids, "change", change, "random", changes, "shares", shares, "p", p)
    out = {"change": torch.stack([change, changes.mean()]), "random": changes, "along": states @ t / (t @ t), "taken_off": shares, "p": p[None]}
    return {name: value.float() for name, value in out.items()}, q.about | AWAY


def main():
    about = {"seed": SEED, "held_out": SHARE, "rounds": ROUNDS, "draws": DRAWS, "library": "scikit-learn " + __import__("sklearn").__version__}
    path = common.save(FOLDER / "inlp.safetensors", inlp(2) | inlp(3), about)
    print(f"{path.stat().st_size / 1024:.1f} KiB")
    path = common.save(FOLDER / "project-away.safetensors", *away())
    print(f"{path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

"""A record of training in NumPy and scikit-learn: `fixtures/methods/training-record.safetensors`.

The steps are `clip-a` with the output of its tower's first block scaled, and as it is. States are those of transformers; the split and orders are drawn from the rules that mmlens states.
"""

import common
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import trace
from cka import hsic, order
from common import FIXTURES
from features import CASES, PICTURES, normed, opened
from methods import FOLDER
from probes import at

SEED, SHARE, SCALE, SHUFFLES = 5, 0.4, 3.0, 1 << 32
C = 1000.0


def states(scale):
    """A mean row of every block of the tower, and both vectors, of every case."""
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    model = checkpoint.model.eval()
    layers, hooks = model.vision_model.encoder.layers, {}

    def hook(at):
        def behind(_, __, out):
            x = out[0] if isinstance(out, tuple) else out
            x = x * scale if at == 0 else x
            hooks[at] = x[0].double().numpy().mean(0)
            return (x, *out[1:]) if isinstance(out, tuple) else x

        return behind

    for at_block, layer in enumerate(layers):
        layer.register_forward_hook(hook(at_block))
    rows, seen, read = [[] for _ in layers], [], []
    for picture, text in CASES:
        inputs = trace.prepare(checkpoint, [{"images": [opened(picture)], "texts": [text]}])
        with torch.no_grad():
            out = model(input_ids=inputs.input_ids, pixel_values=inputs.pixel_values, attention_mask=inputs.attention_mask)
        for block, own in enumerate(rows):
            own.append(hooks[block])
        # Of length one already.
        seen.append(out.image_embeds[0].double().numpy())
        read.append(out.text_embeds[0].double().numpy())
    return [np.stack(own) for own in rows], normed(np.stack(seen)), normed(np.stack(read))


def cka(x, y):
    k, l = x @ x.T, y @ y.T
    return hsic(k, l, True) / np.sqrt(hsic(k, k, True) * hsic(l, l, True))


def main():
    n = len(CASES)
    drawn = sorted((at(SEED, i), i) for i in range(n))
    out = np.zeros(n, bool)
    out[[i for _, i in drawn[: round(SHARE * n)]]] = True
    tasks = [
        np.array([PICTURES.index(picture) % 2 for picture, _ in CASES]),
        np.array([PICTURES.index(picture) for picture, _ in CASES]),
    ]
    steps = [states(SCALE), states(1.0)]
    probe, likeness, alignment, gap, retrieval, length, dimensions = ([] for _ in range(7))
    for rows, seen, read in steps:
        for site, x in enumerate(rows):
            y = steps[-1][0][site]
            likeness.append([cka(x, y), cka(x, y[order(n, at(SEED, SHUFFLES))])])
            length.append(np.linalg.norm(x, axis=1).mean())
            spectrum = np.linalg.eigvalsh(np.cov(x.T))
            dimensions.append(spectrum.sum() ** 2 / (spectrum**2).sum())
            for task, labels in enumerate(tasks):
                told = []
                for own in (labels, labels[order(n, at(SEED, SHUFFLES + 1 + task))]):
                    model = LogisticRegression(C=C, tol=1e-10, max_iter=100000).fit(x[~out], own[~out])
                    told.append(model.score(x[out], own[out]))
                common_class = np.bincount(labels[~out]).argmax()
                probe.append([*told, np.mean(labels[out] == common_class)])
        cosines = seen @ read.T
        alignment.append([np.trace(cosines) / n, cosines[~np.eye(n, dtype=bool)].mean()])
        gap.append(np.linalg.norm(seen.mean(0) - read.mean(0)))
        hits = [np.abs(row - row.max()) < 1e-9 for row in cosines]
        retrieval.append([np.mean([hit[i] / hit.sum() for i, hit in enumerate(hits)]), 1 / n])
    found = {"probe": probe, "cka": likeness, "alignment": alignment, "gap": gap, "retrieval": retrieval, "length": length, "dimensions": dimensions}
    found = {name: np.array(values) for name, values in found.items()}
    about = {"cases": [list(case) for case in CASES], "tasks": [[int(x) for x in task] for task in tasks], "seed": SEED, "held_out": SHARE, "scale": SCALE, "c": C}
    common.save(FOLDER / "training-record.safetensors", found, about)
    for name, values in found.items():
        print(name, values.tolist())


if __name__ == "__main__":
    main()

"""What metrics of maps are by Quantus 0.6, captum, scipy and scikit-image, and of tiny models by hand: `fixtures/evaluation/evaluation.safetensors`.

`place/*`: maps on 16 x 12 pixels without ties and a mask, through Quantus' localisation and sparseness; `alike/*`: grids of 8 x 10 cells, through scipy's rank
correlation and scikit-image's structural similarity; `moved/*`: norms of Quantus' sensitivity on given maps. `llava/*` and `clip/*`: cells of the picture of `square` hidden by zero in the processed pixels, in the order of a given map, and at random as mmlens draws them:
curves, their areas, both measures of ERASER, captum's infidelity, correlations of what the map says with what is lost by scipy, and cell by cell the pixels that Quantus flips.
"""

import common
import numpy as np
import quantus
import scipy
import skimage
import torch
from captum.metrics import infidelity
from PIL import Image
from scipy.stats import pearsonr, spearmanr
from skimage.metrics import structural_similarity

import pictures
import trace
from methods import Question
from probes import at, unit

FOLDER = common.FIXTURES / "evaluation"
SEED, DRAWS, SHARE, STEPS, BINS = 3, 16, 0.25, 5, [0.01, 0.05, 0.1, 0.2, 0.5]
QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False}


def places(out):
    rng = common.rng(1, "places")
    maps = rng.standard_normal((4, 12, 16))
    rows, cols = np.mgrid[:12, :16]
    mask = ((rows - 5) / 3.0) ** 2 + ((cols - 9) / 4.5) ** 2 <= 1
    masks = np.repeat(mask[None, None], 4, 0)
    given = dict(x_batch=np.zeros((4, 1, 12, 16)), y_batch=np.zeros(4, int), a_batch=maps[:, None].copy(), s_batch=masks, model=None)
    run = lambda metric, **more: np.array(metric(**QUIET, **more)(**{k: (v.copy() if hasattr(v, "copy") else v) for k, v in given.items()}), dtype=float)
    out |= {"place/maps": maps, "place/mask": mask.astype(float)}
    out["place/mass"] = run(quantus.RelevanceMassAccuracy, abs=True)
    out["place/signed mass"] = run(quantus.RelevanceMassAccuracy, abs=False)
    out["place/rank"] = run(quantus.RelevanceRankAccuracy, abs=True)
    out["place/top 10"] = run(quantus.TopKIntersection, abs=True, k=10)
    out["place/pointing"] = run(quantus.PointingGame, abs=True)
    out["place/sparseness"] = run(quantus.Sparseness, abs=True)


def alike(out):
    rng = common.rng(1, "alike")
    a, b = np.abs(rng.standard_normal((2, 8, 10)))
    b[0] = b[1]  # ties
    b = a * 0.5 + b
    a, b = a / a.max(), b / b.max()
    out |= {"alike/a": a, "alike/b": b, "alike/rank": np.array([spearmanr(a.ravel(), b.ravel())[0]])}
    both = np.concatenate([a, b])
    out["alike/structure"] = np.array([structural_similarity(a, b, data_range=both.max() - both.min())])
    own, moved = rng.standard_normal(20), rng.standard_normal((3, 20))
    still = Scored(lambda x: x.reshape(len(x), -1).sum(-1)).eval()

    def sensitivity(metric):
        again = iter(moved)
        explained = lambda model, inputs, targets, **_: next(again).reshape(1, 1, 4, 5)
        found = metric(nr_samples=3, perturb_func=lambda arr, indices, **_: arr, **QUIET)
        return found(model=still, x_batch=np.ones((1, 1, 4, 5), np.float32), y_batch=np.zeros(1, int), a_batch=own.reshape(1, 1, 4, 5).copy(), explain_func=explained)[0]

    each = np.array([sensitivity(quantus.MaxSensitivity), sensitivity(quantus.AvgSensitivity)])
    out |= {"moved/map": own, "moved/others": moved, "moved/max and mean": each}


class Scored(torch.nn.Module):
    """A score of pixels as a model of one class."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x):
        with torch.no_grad():
            return self.score(x)[:, None]


def model(name, out, pixels, score, cells):
    side = pixels.shape[-1] // cells
    n = cells * cells
    ranks = common.rng(1, name).standard_normal(n)

    def of(hidden):
        """What is explained with some sets of cells at zero."""
        some = pixels.repeat(len(hidden), 1, 1, 1)
        for row, cells_hidden in zip(some, hidden):
            for cell in cells_hidden:
                r, c = divmod(int(cell), cells)
                row[:, r * side : (r + 1) * side, c * side : (c + 1) * side] = 0
        with torch.no_grad():
            return score(some).double().numpy()

    whole, none = of([[], range(n)])
    order = np.argsort(-ranks, kind="stable")
    counts = [-(-k * n // STEPS) for k in range(STEPS + 1)]
    deletion = of([order[:k] for k in counts])
    insertion = of([order[k:] for k in counts])
    trapezoid = lambda y: float(np.trapezoid(y, np.array(counts) / n))
    # Every pixel and colour has the number of its cell; after as many steps as there are colours one more cell is gone.
    flip = quantus.PixelFlipping(features_in_step=side * side, perturb_baseline=0.0, **QUIET)
    large = np.kron(ranks.reshape(cells, cells), np.ones((side, side)))[None, None]
    flipped = flip(model=Scored(score).eval(), x_batch=pixels.numpy(), y_batch=np.zeros(1, int), a_batch=large, softmax=False)[0]
    drop = lambda some: float(np.mean(whole - of(some)))
    first = [int(np.ceil(q * n)) for q in BINS]
    draws = [[cell for cell in range(n) if unit(at(at(SEED, i), cell)) < SHARE] for i in range(DRAWS)]
    told = torch.tensor([ranks[d].sum() for d in draws])
    lost = torch.tensor(whole - of(draws))
    # captum asks for what is taken away, and multiplies it with the attributions: here sets, as ones.
    sets = torch.zeros(DRAWS, n, dtype=torch.float64)
    for row, own in zip(sets, draws):
        row[own] = 1
    forward = lambda x: torch.tensor(of([[c for c in range(n) if row[c] < 0.5] for row in x.numpy()]))
    perturb = lambda inputs: (sets.clone(), inputs - sets)
    by_captum = lambda **more: float(infidelity(forward, perturb, torch.ones(1, n, dtype=torch.float64), torch.tensor(ranks)[None], n_perturb_samples=DRAWS, **more))
    raw, scaled = by_captum(), by_captum(normalize=True)
    assert abs(raw - float(((told - lost) ** 2).mean())) < 1e-5 * raw
    out |= {
        f"{name}/map": ranks, f"{name}/whole": np.array([whole, none]), f"{name}/deletion": deletion, f"{name}/insertion": insertion,
        f"{name}/flipped": np.array(flipped, dtype=float)[pixels.shape[1] - 1 :: pixels.shape[1]],
        f"{name}/areas": np.array([trapezoid(deletion), trapezoid(insertion)]),
        f"{name}/erasure": np.array([drop([order[:k] for k in first]), drop([order[k:] for k in first])]),
        f"{name}/infidelity": np.array([raw, scaled]), f"{name}/lost": lost.numpy(),
        f"{name}/fidelity": np.array([pearsonr(told, lost)[0], spearmanr(told, lost)[0]]),
    }  # fmt: skip
    print(name, whole, none, trapezoid(deletion), trapezoid(insertion), raw, scaled)


def main():
    out = {}
    places(out)
    alike(out)
    q = Question(trace.open_checkpoint(common.FIXTURES / "llava-a" / "model"), "<image>Red?", "square")
    model("llava", out, q.pixels, lambda pixels: q.of_pixels(pixels)[:, q.target], 5)
    checkpoint = trace.open_checkpoint(common.FIXTURES / "clip-a" / "model")
    batch = trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / "square.png")], "texts": ["two blue squares"]}])
    with torch.no_grad():
        text = checkpoint.model(**batch.kwargs()).text_embeds
    scale = checkpoint.model.logit_scale.exp()

    def score(pixels):
        seen = checkpoint.model.get_image_features(pixel_values=pixels)
        seen = getattr(seen, "pooler_output", seen)
        return (seen / seen.norm(dim=-1, keepdim=True) @ text.T)[:, 0] * scale

    model("clip", out, batch.pixel_values, score, 4)
    about = q.about | {"target": q.target, "seed": SEED, "draws": DRAWS, "share": SHARE, "steps": STEPS, "caption": "two blue squares"}
    common.save(FOLDER / "evaluation.safetensors", {name: torch.tensor(np.asarray(value, dtype=np.float64)) for name, value in out.items()}, about)
    common.why(
        FOLDER,
        "evaluation.py",
        "Metrics of maps by Quantus, captum, scipy and scikit-image, and curves of what is hidden of llava-a and clip-a.",
        {"maps": 1e-9, "sparseness": 1e-6, "curves": 2e-5, "infidelity": 1e-4, "fidelity": 1e-4},
        "Maps are in double precision on both sides; Quantus adds 1e-7 to every value before it measures sparseness. Curves, areas and differences are absolute, of logits up to "
        "10 in single precision. Infidelity is relative: a mean of squares of differences of such logits. "
        "Fidelity, a correlation, is absolute.",
        beside={"quantus": quantus.__version__, "scipy": scipy.__version__, "scikit-image": skimage.__version__},
    )
    print({name: np.asarray(value).shape for name, value in out.items()})


if __name__ == "__main__":
    main()

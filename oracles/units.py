"""What units of pictures and shares of players are compared with: `fixtures/units`.

    python oracles/units.py

Segments are scikit-image's, blurs scipy's, ROAD's interpolation is the linear system of Rong et al. (2022) solved by scipy, Shapley values
are shap's, which takes every coalition of so few players, and the sum over orders written out.
"""

from itertools import permutations
from math import factorial

import common
import numpy as np
import scipy
import shap
import torch
from common import FIXTURES, rng
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from skimage.segmentation import slic

PICTURES = ("square", "wide", "tall")
ALSO = {"square": "plain", "wide": "blurred", "tall": "apart"}
SLIC = {
    "few": {"n_segments": 12},
    "plain": {"n_segments": 40, "compactness": 20.0, "start_label": 0},
    "blurred": {"n_segments": 25, "compactness": 5.0, "sigma": 1.0},
    "apart": {"n_segments": 30, "compactness": 0.5, "enforce_connectivity": False, "max_num_iter": 4},
}
BESIDE, CORNER = 1 / 6, 1 / 12


def opened(name):
    return np.asarray(Image.open(FIXTURES / "pictures" / f"{name}.png").convert("RGB"))


def interpolated(channel, missing):
    """The missing pixels of `[height, width]` as the solution of one linear system."""
    places = [tuple(at) for at in np.argwhere(missing)]
    number = {at: i for i, at in enumerate(places)}
    left, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for (y, x), i in number.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= at[0] < channel.shape[0] and 0 <= at[1] < channel.shape[1]):
                    continue
                weight = CORNER if dy and dx else BESIDE
                left[i, i] += weight
                if at in number:
                    left[i, number[at]] -= weight
                else:
                    right[i] += weight * channel[at]
    found = channel.astype(np.float64).copy()
    found[missing] = spsolve(left.tocsc(), right)
    return found


def shares(scores, players):
    """Shapley values as the mean over all orders. Scores are by the number whose bits are the coalition."""
    values = np.zeros(players)
    for order in permutations(range(players)):
        coalition = 0
        for player in order:
            values[player] += scores[coalition | 1 << player] - scores[coalition]
            coalition |= 1 << player
    return values / factorial(players)


def kernel(scores, players):
    """shap's, with every coalition."""
    def model(rows):
        return np.array([scores[sum(1 << i for i in range(players) if row[i] > 0.5)] for row in rows])

    explainer = shap.KernelExplainer(model, np.zeros((1, players)))
    return explainer.shap_values(np.ones(players), nsamples=2**players, l1_reg=False, silent=True)


def main():
    tensors, rounded = {}, {}
    for name in PICTURES:
        picture = opened(name)
        for kind, settings in SLIC.items():
            if kind not in ("few", ALSO[name]):
                continue
            labels = slic(picture, **settings)
            assert labels.max() < 256
            tensors[f"slic/{name}/{kind}"] = torch.from_numpy(labels.astype(np.uint8))
        channel = picture[:, :, 1].astype(np.float64)
        if name == "square":
            for sigma in (0.7, 3.0):
                tensors[f"blur/{name}/{sigma}"] = torch.from_numpy(gaussian_filter(channel, sigma, mode="reflect")[::13])
        if name != "wide":
            continue
        # Whole edges and corners missing, and single pixels.
        missing = rng(0, f"missing/{name}").random(channel.shape) < 0.1
        missing[:9, 5:14] = True
        missing[-4:, -6:] = True
        found = interpolated(channel, missing)
        tensors[f"road/{name}/missing"] = torch.from_numpy(missing.astype(np.uint8))
        tensors[f"road/{name}"] = torch.from_numpy(found[missing])
    for players in (2, 5, 6):
        scores = rng(0, f"game/{players}").standard_normal(2**players).astype(np.float32)
        own, library = shares(scores.astype(np.float64), players), kernel(scores, players)
        rounded[str(players)] = float(np.abs(own - library).max())
        assert rounded[str(players)] < 1e-6, rounded
        tensors[f"game/{players}"] = torch.from_numpy(scores)
        tensors[f"shares/{players}"] = torch.from_numpy(own)
        tensors[f"kernel/{players}"] = torch.from_numpy(np.asarray(library))
    about = {"slic": SLIC, "kernel minus shares": rounded}
    common.save(FIXTURES / "units" / "units.safetensors", tensors, about)
    common.why(
        FIXTURES / "units",
        "units.py",
        "Segments of pictures, blurs, filled holes, and shares of players.",
        {"slic": 0, "blur": 1e-10, "road": 1e-6, "shares": 1e-6},
        "Labels are whole numbers. Blurs are in double precision; holes are filled by conjugate gradients up to a residual of 1e-10, of levels "
        "up to 255. Shares are rounded to single precision.",
        beside={"scikit-image": "0.26.0", "scipy": scipy.__version__, "shap": shap.__version__},
    )


if __name__ == "__main__":
    main()

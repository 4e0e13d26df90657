"""Maps side by side, by SciPy and NumPy: `fixtures/evaluation/comparison.safetensors`.

Drawn maps on grids of cells that do not divide the picture are gathered on the common grid by areas, and brought to a common scale; ranks by SciPy, in steps of a millionth of the largest mass. Shifts roll the second map round
the edges of the picture.
"""

import common
import numpy as np
import torch
from scipy.stats import spearmanr

WIDTH, HEIGHT, ROWS, COLS, TOP = 30, 20, 6, 7, 0.2


def shares(cells, others):
    """Which share of the side of each of `cells` cells of a map lies in each of `others` cells of the grid: `[others, cells]`."""
    own, grid = np.linspace(0, 1, cells + 1), np.linspace(0, 1, others + 1)
    inside = np.minimum(own[None, 1:], grid[1:, None]) - np.maximum(own[None, :-1], grid[:-1, None])
    return np.clip(inside, 0, None) * cells


def on_grid(cells):
    """Masses of the cells of a map on the common grid."""
    grid = shares(cells.shape[0], ROWS) @ cells @ shares(cells.shape[1], COLS).T
    return grid / np.abs(grid).sum()


def alike(a, b):
    count = max(1, round(TOP * a.size))
    top = lambda x: set(np.argsort(-x.ravel(), kind="stable")[:count].tolist())
    mass = np.where(a * b > 0, np.minimum(np.abs(a), np.abs(b)), 0).sum()
    steps = lambda x: np.round(x.ravel() / (1e-6 * np.abs(x).max()))
    return spearmanr(steps(a), steps(b))[0], mass, len(top(a) & top(b)) / len(top(a) | top(b))


def main():
    rng = common.rng(4, "comparison")
    cells = [rng.standard_normal(shape).astype(np.float32).astype(np.float64) for shape in ((5, 8), (3, 4), (10, 15))]
    out = {f"map/{i}": own for i, own in enumerate(cells)}
    for sign, of in (("signed", lambda x: x), ("absolute", np.abs)):
        grids = [on_grid(of(own)) for own in cells]
        for i, grid in enumerate(grids):
            out[f"{sign}/grid/{i}"] = grid
        for i, a in enumerate(grids):
            for j, b in enumerate(grids):
                if j <= i:
                    continue
                here = alike(a, b)
                moved = [alike(a, np.roll(b, (-y, -x), (0, 1))) for y in range(ROWS) for x in range(COLS) if (y, x) != (0, 0)]
                reached = np.mean([own[0] >= here[0] for own in moved])
                out[f"{sign}/{i}-{j}"] = np.array([*here, *np.quantile(moved, 0.95, 0), reached])
    about = {"size": [WIDTH, HEIGHT], "rows": ROWS, "cols": COLS, "top": TOP}
    path = common.save(common.FIXTURES / "evaluation" / "comparison.safetensors", {k: torch.tensor(np.asarray(v)) for k, v in out.items()}, about)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

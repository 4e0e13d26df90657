"""EMAP by least squares in NumPy on scores of `llava-a` and `smolvlm-a` in transformers: `fixtures/methods/emap-*.safetensors`.

Scores are log-probabilities of answers for every picture with every prompt, less their mean over answers. The additive function is found by ordinary least squares on an indicator of each picture and
one of each prompt of eleven cases, and not by means; `left out` leaves out the pictures with their own prompts; shares of the variance are sums of squares of what it fits by pictures alone, by both, and of what it leaves.
"""

import common
import numpy as np
import torch

import trace
from causal import image, said
from methods import FOLDER
from modality import CASES, PICTURES, PROMPTS, answer

CLASSES = ["big", "left", "Red"]


def fitted(columns, values):
    solution = np.linalg.lstsq(columns, values, rcond=None)[0]
    return columns @ solution


def main():
    for name in ("llava-a", "smolvlm-a"):
        checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        tokenizer = checkpoint.processor.tokenizer
        scores = np.zeros((len(PICTURES), len(PROMPTS), len(CLASSES)))
        for i, picture in enumerate(PICTURES):
            for j, prompt in enumerate(PROMPTS):
                for c, text in enumerate(CLASSES):
                    scores[i, j, c] = said(checkpoint, prompt, image(picture), answer(tokenizer, prompt, text))
        scores -= scores.mean(-1, keepdims=True)
        cases = np.arange(CASES)
        grid = scores[cases[:, None] % len(PICTURES), cases[None] % len(PROMPTS)].reshape(CASES * CASES, -1)
        seen, read = (np.kron(np.eye(CASES), np.ones((CASES, 1))), np.kron(np.ones((CASES, 1)), np.eye(CASES)))
        both = fitted(np.hstack([seen, read]), grid)
        whole, one = grid.mean(0), fitted(seen, grid)
        squares = np.array([((one - whole) ** 2).sum(), ((both - one) ** 2).sum(), ((grid - both) ** 2).sum()])
        own = cases * CASES + cases
        # Nearest to pictures with words of other cases alone.
        columns, others = np.hstack([seen, read]), np.setdiff1d(np.arange(CASES * CASES), own)
        apart = columns[own] @ np.linalg.lstsq(columns[others], grid[others], rcond=None)[0]
        out = {"score": grid[own], "additive": both[own], "left out": apart, "variance": squares / squares.sum()}
        gaps = np.diff(np.sort(np.stack([grid[own], both[own]]), -1), axis=-1)[..., -1]
        about = {"prompts": PROMPTS, "pictures": PICTURES, "classes": CLASSES, "smallest gap": float(gaps.min()), "checkpoint": f"fixtures/{name}/model"}
        path = common.save(FOLDER / f"emap-{name}.safetensors", {n: torch.tensor(x).float() for n, x in out.items()}, about)
        print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB", out["variance"], about["smallest gap"])


if __name__ == "__main__":
    main()

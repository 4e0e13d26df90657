"""Boxes as transformers reads them from generated text, and how they meet: `fixtures/grounded/cases.json`.

Kosmos-2's tags by its processor's functions; Florence-2's bins by its post-processor, whose coordinates are cut down to whole pixels; intersections over union by torchvision.
"""

import json

import torch
from torchvision.ops import box_iou
from transformers.models.florence2.processing_florence2 import Florence2PostProcessor
from transformers.models.kosmos2.processing_kosmos2 import coordinate_to_patch_index, extract_entities_with_patch_indices, patch_index_to_coordinate

from common import FIXTURES, rng, why

FOLDER = FIXTURES / "grounded"
SIZES = [(640, 480), (333, 500), (1000, 1000)]


def corners(draws, low, high):
    a, b = sorted(draws.uniform(low, high, 2)), sorted(draws.uniform(low, high, 2))
    return [float(a[0]), float(b[0]), float(a[1]), float(b[1])]


def kosmos(draws):
    cases = []
    for number in range(12):
        size = SIZES[number % 3]
        boxes = [corners(draws, 0, 1) for _ in range(1 + number % 2)]
        if number % 4 == 3:  # one row of cells
            boxes = [[x0, 0.5, x1, 0.52] for x0, _, x1, _ in boxes]
        pairs = [coordinate_to_patch_index(box, 32) for box in boxes]
        objects = "</delimiter_of_multi_objects/>".join(f"<patch_index_{a:04d}><patch_index_{b:04d}>" for a, b in pairs)
        text = f"<grounding> there is<phrase> a dog</phrase><object>{objects}</object> here"
        [(words, _, found)] = extract_entities_with_patch_indices(text)
        read = [patch_index_to_coordinate(a, b, 32) for a, b in found]
        pixels = [[x * size[i % 2] for i, x in enumerate(box)] for box in read]
        cases.append({"format": "kosmos-2", "text": text, "size": size, "words": words, "boxes": pixels, "cut": False})
    return cases


def florence(draws):
    made = Florence2PostProcessor.__new__(Florence2PostProcessor)
    made.quantize_bins = (1000, 1000)
    cases = []
    for number in range(9):
        size = SIZES[number % 3]
        bins = [[int(x) for x in corners(draws, 0, 1000)] for _ in range(1 + number % 2)]
        text = "a dog" + "".join(f"<loc_{x}>" for box in bins for x in box)
        boxes = made.dequantize(torch.tensor(bins), size).tolist()
        cases.append({"format": "florence-2", "text": text, "size": size, "words": "a dog", "boxes": boxes, "cut": True})
    return cases


def main():
    draws = rng(4, "grounded")
    cases = kosmos(draws) + florence(draws)
    pairs = [[corners(draws, 0, 100), corners(draws, 0, 100)] for _ in range(20)]
    ious = [float(box_iou(torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64))) for a, b in pairs]
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "cases.json").write_text(json.dumps({"cases": cases, "pairs": pairs, "ious": ious}, indent=1) + "\n")
    why(
        FOLDER,
        "grounded.py",
        "Grounded text, and boxes as transformers reads them from it; pairs of boxes and their intersection over union by torchvision.",
        {"boxes": 1e-4, "ious": 1e-6},
        "Pixels in single precision. Florence-2's are cut down to whole pixels there, and compared so. Intersections over union are those of boxes in single precision.",
    )
    print(len(cases), "cases", min(ious), max(ious))


if __name__ == "__main__":
    main()

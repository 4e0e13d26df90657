"""Pillow's resampling and CLIP's image processors: `fixtures/resize` and `fixtures/processors`.

`mmlens` follows Pillow and the processors built on it. torchvision's, which transformers takes by default when it is installed, are
recorded beside them wherever they differ.
"""

import math
import tempfile
from pathlib import Path

import common
import numpy as np
import torch
from common import FIXTURES, difference, rng
from PIL import Image
from torchvision.transforms.v2 import functional as tv
from transformers import AutoImageProcessor

import pictures

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

# (height, width) before and after
SIZES = [
    ((37, 53), (20, 29)),
    ((31, 47), (30, 45)),
    ((5, 7), (23, 19)),
    ((200, 3), (11, 4)),
    ((3, 61), (7, 1)),
    ((1, 1), (24, 24)),
    ((1, 9), (5, 4)),
    ((16, 16), (8, 8)),
    ((13, 13), (13, 13)),
    ((12, 20), (12, 7)),
    ((40, 9), (9, 21)),
    ((64, 48), (7, 5)),
    ((34, 42), (19, 41)),  # rows first: 15 > 2 * 1
    ((30, 20), (10, 10)),  # columns first, just: 20 = 2 * 10
]


def noise(height, width):
    """Half plain noise, half black and white: the filters with negative lobes must clip."""
    r = rng(3, f"{height}x{width}")
    values = r.integers(0, 256, (height, width, 3))
    hard = r.integers(0, 2, (height, width, 3)) * 255
    return np.where(r.random((height, width, 1)) < 0.5, values, hard).astype(np.uint8)


def sinc(x):
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def cubic(x):
    x, a = abs(x), -0.5
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


KERNELS = {  # the function and how far it reaches
    "box": (lambda x: 1.0 if -0.5 < x <= 0.5 else 0.0, 0.5),
    "bilinear": (lambda x: max(1 - abs(x), 0.0), 1.0),
    "hamming": (lambda x: sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0, 1.0),
    "bicubic": (cubic, 2.0),
    "lanczos": (lambda x: sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0, 3.0),
}


def one_pass(image, size, axis, kernel, reach):
    """Pillow's arithmetic along one axis: weights in 22 bits, a rounded and clipped byte at the end."""
    image = np.moveaxis(image.astype(np.int64), axis, 0)
    scale = len(image) / size
    stretch = max(scale, 1.0)  # enlarging interpolates, reducing averages over a wider window
    lines = []
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(int(centre - reach * stretch + 0.5), 0)
        last = min(int(centre + reach * stretch + 0.5), len(image))
        weights = np.array([kernel((j - centre + 0.5) / stretch) for j in range(first, last)])
        if weights.sum() != 0:
            weights = weights / weights.sum()
        fixed = np.trunc(weights * 2**22 + np.where(weights < 0, -0.5, 0.5)).astype(np.int64)
        lines.append(((np.tensordot(fixed, image[first:last], 1) + 2**21) >> 22).clip(0, 255))
    return np.moveaxis(np.stack(lines), 0, axis)


def nearest(before, after):
    """The source line of each line. Pillow adds the step up as it goes, and where the centre falls between two lines that sum's rounding decides."""
    step = before / after
    return np.cumsum([step * 0.5] + [step] * (after - 1)).astype(int)


def pillow_by_hand(image, size, kernel, reach):
    """Which pass comes first matters, because bytes are rounded in between. Up to Pillow 12 it was always the columns."""
    (h, w), (h2, w2) = image.shape[:2], size
    rows_first = h > h2 and h - h2 > 2 * (w - w2)
    for axis in (0, 1) if rows_first else (1, 0):
        if image.shape[axis] != size[axis]:
            image = one_pass(image, size[axis], axis, kernel, reach)
    return image


def resizes():
    out, apart = {}, {}
    for (h, w), (h2, w2) in SIZES:
        image = noise(h, w)
        out[f"in.{h}x{w}"] = torch.from_numpy(image)
        for name, kind in FILTERS.items():
            key = f"{name}.{h}x{w}.{h2}x{w2}"
            pillow = np.array(Image.fromarray(image).resize((w2, h2), kind))
            if name == "nearest":
                assert (pillow == image[nearest(h, h2)][:, nearest(w, w2)]).all(), key
            else:
                assert (pillow == pillow_by_hand(image, (h2, w2), *KERNELS[name])).all(), key
            out[key] = torch.from_numpy(pillow)
            if name in ("bilinear", "bicubic"):
                theirs = tv.resize(torch.from_numpy(image).permute(2, 0, 1), [h2, w2], tv.InterpolationMode(name), antialias=True)
                theirs = theirs.permute(1, 2, 0)
                gap = (theirs.int() - out[key].int()).abs()
                apart[key] = {"max": int(gap.max()), "share": round(float((gap > 0).float().mean()), 4)}
    path = common.save(FIXTURES / "resize" / "resize.safetensors", out)
    worst = max(a["max"] for a in apart.values())
    print(f"resize: {path.stat().st_size / 1024:.0f} KiB, torchvision differs by at most {worst}")
    common.why(
        FIXTURES / "resize",
        "resize.py",
        "Image.resize of RGB pictures: `in.HxW` and `FILTER.HxW.HxW` (before, after), uint8, height width channel.",
        {"uint8": 0},
        "Pillow resamples in fixed point (8 bits of value, 22 bits of weight), one axis after the other, rounding to bytes in between: the same "
        "arithmetic gives the same bytes, and resize.py does it by hand to show so. Pillow 13 takes the height first where it shrinks by more "
        "than twice the pixels that the width loses; earlier versions always took the width first.",
        torchvision=apart,
    )


BASE = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 18}, "crop_size": {"height": 18, "width": 18}}
PROCESSORS = [
    ("clip-wide", {}, "wide"),
    ("clip-tall", {}, "tall"),
    ("clip-enlarged", {}, "tiny"),
    ("height-and-width", {"size": {"height": 14, "width": 21}, "do_center_crop": False}, "wide"),
    ("crop-above-picture", {"size": {"shortest_edge": 12}, "crop_size": {"height": 17, "width": 22}}, "wide"),
    ("crop-above-one-side", {"size": {"shortest_edge": 11}, "crop_size": {"height": 16, "width": 13}}, "wide"),
    ("odd-crop", {"size": {"shortest_edge": 18}, "crop_size": {"height": 13, "width": 15}}, "wide"),
    ("no-resize", {"do_resize": False}, "square"),
    ("no-resize-small", {"do_resize": False, "crop_size": {"height": 8, "width": 9}}, "tiny"),
    ("no-crop", {"do_center_crop": False, "size": {"shortest_edge": 9}}, "tall"),
    ("no-rescale", {"do_rescale": False}, "wide"),
    ("no-normalize", {"do_normalize": False}, "wide"),
    ("bytes", {"do_rescale": False, "do_normalize": False}, "wide"),
    ("bilinear", {"resample": 2}, "wide"),
    ("lanczos", {"resample": 1}, "wide"),
    ("nearest", {"resample": 0}, "wide"),
    ("statistics", {"image_mean": [0.1, 0.5, 0.75], "image_std": [0.3, 0.2, 0.6]}, "square"),
    ("rescale-factor", {"rescale_factor": 0.00784313725490196, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]}, "square"),
    ("sizes-as-numbers", {"size": 16, "crop_size": 12}, "wide"),
    ("rgba", {}, "rgba"),
    ("grey", {}, "grey"),
    ("grey-alpha", {}, "grey-alpha"),
    ("palette", {}, "palette"),
    ("palette-clear", {}, "palette-clear"),
    ("bilevel", {}, "bilevel"),
    ("rgb-not-converted", {"do_convert_rgb": False}, "wide"),
]


def processed(config, picture, backend):
    with tempfile.TemporaryDirectory() as folder:
        common.write_json(Path(folder) / "preprocessor_config.json", config)
        processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    image = Image.open(pictures.FOLDER / f"{picture}.png")
    return processor(images=image, return_tensors="pt")["pixel_values"][0], processor


def processors():
    out, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        common.write_json(Path(folder) / "preprocessor_config.json", BASE)
        default = AutoImageProcessor.from_pretrained(folder)
    for name, changes, picture in PROCESSORS:
        config = BASE | changes
        pil, processor = processed(config, picture, "pil")
        theirs, _ = processed(config, picture, "torchvision")
        out[name] = pil.float()
        row = {"name": name, "config": config, "picture": picture, "shape": list(pil.shape)}
        row["torchvision_differs_by"] = difference(theirs, pil)[0] if theirs.shape == pil.shape else f"shape {list(theirs.shape)}"
        # One level of 255 is about 0.015 after normalisation: recorded as a number only. Pictures that are moved are kept.
        if name in ("crop-above-picture", "crop-above-one-side", "no-resize-small"):
            out[f"{name}.torchvision"] = theirs.float()
        rows.append(row)
        print(f"processor {name}: {row['shape']} {pil.dtype}, torchvision differs by {row['torchvision_differs_by']}")
    folder = FIXTURES / "processors"
    path = common.save(folder / "processors.safetensors", out)
    common.write_json(folder / "cases.json", rows)
    print(f"processors: {path.stat().st_size / 1024:.0f} KiB, default {type(default).__name__} ({default.backend}), pil {type(processor).__name__}")
    common.why(
        folder,
        "resize.py",
        "Pixel values of CLIPImageProcessorPil for each configuration and picture of cases.json; `NAME.torchvision` where the default processor puts the picture elsewhere.",
        {"pixel_values": 1e-6},
        "Resized bytes are equal; scaling is a float64 product rounded to float32, normalisation a float32 difference and quotient.",
        default_processor=f"{type(default).__name__} ({default.backend})",
    )


if __name__ == "__main__":
    resizes()
    processors()

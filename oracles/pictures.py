"""Draws the pictures that every fixture uses, from a seed, into `fixtures/pictures`."""

import numpy as np
from PIL import Image

from common import FIXTURES, rng

FOLDER = FIXTURES / "pictures"


def colours(name, height, width):
    """A slope of colour, a disc, a bar and some noise: smooth places, edges and fine grain in one small picture."""
    r = rng(1, name)
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    slopes = r.uniform(-180, 180, (3, 2))
    values = r.uniform(60, 200, 3)[None, None] + u[..., None] * slopes[:, 0] + v[..., None] * slopes[:, 1]
    disc = (u - r.uniform(0.2, 0.8)) ** 2 + (v - r.uniform(0.2, 0.8)) ** 2 < 0.06
    values[disc] = r.integers(0, 256, 3)
    bar = np.abs(u + v - r.uniform(0.6, 1.4)) < 0.08
    values[bar] = r.integers(0, 256, 3)
    values += r.normal(0, 12, (height, width, 1))
    return values.clip(0, 255).astype(np.uint8)


def alpha(name, height, width):
    ramp = np.linspace(0, 255, width)[None] * np.ones((height, 1))
    return (ramp + rng(2, name).normal(0, 20, (height, width))).clip(0, 255).astype(np.uint8)


def write():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (width, height) in {"square": (40, 40), "wide": (47, 31), "tall": (19, 83), "tiny": (5, 3)}.items():
        Image.fromarray(colours(name, height, width)).save(FOLDER / f"{name}.png")
    for i in range(5):  # the frames of a clip
        Image.fromarray(colours(f"clip-{i}", 16, 24)).save(FOLDER / f"clip-{i}.png")
    base = colours("modes", 22, 29)
    clear = alpha("modes", 22, 29)
    Image.fromarray(np.dstack([base, clear])).save(FOLDER / "rgba.png")
    grey = Image.fromarray(base).convert("L")
    grey.save(FOLDER / "grey.png")
    Image.fromarray(np.dstack([np.asarray(grey), clear])).save(FOLDER / "grey-alpha.png")
    palette = Image.fromarray(base).quantize(13, dither=Image.Dither.NONE)
    palette.save(FOLDER / "palette.png")
    palette.save(FOLDER / "palette-clear.png", transparency=4)  # one colour of the table is wholly transparent
    Image.fromarray(np.asarray(grey) > 120).save(FOLDER / "bilevel.png")


if __name__ == "__main__":
    write()
    for f in sorted(FOLDER.iterdir()):
        with Image.open(f) as image:
            print(f.name, image.size, image.mode, f.stat().st_size)

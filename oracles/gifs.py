"""Writes `fixtures/gifs`: GIFs whose frames are smaller than the canvas, transparent, disposed of in every way, and Pillow's frames.

    python oracles/gifs.py

`expected.json`: for each file the size of each frame and its bytes, as RGBA where a pixel is transparent, else as RGB.
"""

import json
import struct

import common
import numpy as np
from common import FIXTURES
from PIL import Image, ImageSequence

HOME = FIXTURES / "gifs"
COLOURS = [(10, 20, 30), (200, 0, 0), (0, 200, 0), (0, 0, 200)]
OTHERS = [(90, 91, 92), (255, 255, 0), (0, 255, 255), (255, 0, 255)]


def packed(indices):
    """LZW with nothing compressed: a clear code before every two indices."""
    bits = []
    for at in range(0, len(indices), 2):
        for code in [4, *indices[at : at + 2]]:
            bits += [code >> i & 1 for i in range(3)]
    bits += [5 >> i & 1 for i in range(3)]
    data = bytes(sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return b"\x02" + blocks + b"\0"


def table(colours):
    return b"".join(bytes(c) for c in colours)


def frame(area, indices, transparent=None, disposal=0, palette=None, delay=10):
    left, top, width, height = area
    out = b"!\xf9\x04" + struct.pack("<BHBB", disposal << 2 | (transparent is not None), delay, transparent or 0, 0)
    return out + b"," + struct.pack("<4HB", left, top, width, height, 0x81 if palette else 0) + (table(palette) if palette else b"") + packed(indices)


def gif(size, frames, palette=COLOURS, background=0):
    head = b"GIF89a" + struct.pack("<2H3B", *size, 0x81 if palette else 0, background, 0) + (table(palette) if palette else b"")
    return head + b"".join(frames) + b";"


def noise(name, area, most=4):
    return [int(i) for i in common.rng(1, name).integers(0, most, area[2] * area[3])]


def cases():
    whole, part, other = (0, 0, 5, 4), (1, 1, 3, 2), (2, 0, 3, 3)
    for clear in (None, 2):
        for disposal in range(4):
            for small in (False, True):
                name = f"{'part' if small else 'whole'}-{disposal}{'-clear' if clear else ''}"
                areas = [part if small else whole, other, part, whole]
                given = [dict(transparent=clear if i != 2 else None, disposal=disposal, palette=OTHERS if i == 1 else None) for i in range(4)]
                yield name, gif((5, 4), [frame(a, noise(f"{name} {i}", a), **g) for i, (a, g) in enumerate(zip(areas, given))], background=3)
    yield "later-clear", gif((5, 4), [frame(whole, noise("a", whole)), frame(part, noise("b", part), 1, 2), frame(other, noise("c", other))])
    yield "beyond", gif((3, 2), [frame(whole, noise("d", whole)), frame((3, 3, 4, 2), noise("e", (0, 0, 4, 2)))])
    yield "grey", gif((5, 4), [frame(part, noise("f", part)), frame(other, noise("g", other), 1)], palette=None)
    yield "own-palette", gif((5, 4), [frame(part, noise("h", part), palette=OTHERS), frame(other, noise("i", other), 3, 3)], palette=None)


def main():
    HOME.mkdir(exist_ok=True)
    expected = {}
    for name, data in cases():
        path = HOME / f"{name}.gif"
        path.write_bytes(data)
        shown = []
        for own in ImageSequence.Iterator(Image.open(path)):
            image = np.array(own.convert("RGBA"))
            if image[..., 3].min() == 255:
                image = image[..., :3]
            shown.append([image.shape[1], image.shape[0], image.flatten().tolist()])
        expected[path.name] = shown
    (HOME / "expected.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()) + "\n}\n")
    common.why(HOME, "gifs.py", "GIFs and their frames as Pillow composes them.", {"bytes": 0}, "Bytes are equal.")


if __name__ == "__main__":
    main()

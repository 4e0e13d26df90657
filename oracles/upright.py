"""Writes `fixtures/upright`: small pictures that say which way up they are in EXIF, XMP or both, and what Pillow makes of them.

    python oracles/upright.py

`expected.json`: for each file width, height and the red, green and blue bytes of `ImageOps.exif_transpose`, row by row.
"""

import json

import common
import numpy as np
from common import FIXTURES
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

HOME = FIXTURES / "upright"
ATTRIBUTE = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
ELEMENT = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>{}</tiff:Orientation></x:xmpmeta>'
PICTURE = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 13)


def exif(value):
    out = Image.Exif()
    out[274] = value
    return out.tobytes()


def main():
    HOME.mkdir(exist_ok=True)
    for old in HOME.iterdir():
        old.unlink()
    for turn in range(1, 10):
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", (ATTRIBUTE if turn % 2 else ELEMENT).format(turn))
        PICTURE.save(HOME / f"xmp-{turn}.png", pnginfo=info)
    PICTURE.save(HOME / "xmp-6.webp", lossless=True, xmp=ATTRIBUTE.format(6).encode())
    PICTURE.save(HOME / "xmp-5-element.webp", lossless=True, xmp=ELEMENT.format(5).encode())
    PICTURE.save(HOME / "exif-8.webp", lossless=True, exif=exif(8))
    PICTURE.save(HOME / "exif-3-xmp-6.webp", lossless=True, exif=exif(3), xmp=ATTRIBUTE.format(6).encode())
    PICTURE.save(HOME / "exif-1-xmp-6.webp", lossless=True, exif=exif(1), xmp=ATTRIBUTE.format(6).encode())
    PICTURE.save(HOME / "exif-9-xmp-6.webp", lossless=True, exif=exif(9), xmp=ATTRIBUTE.format(6).encode())
    # One colour in each half: JPEG keeps it.
    halves = Image.fromarray(np.repeat(np.array([[[255, 255, 255], [0, 0, 0]]], dtype=np.uint8), 16, 0).repeat(16, 1))
    halves.save(HOME / "xmp-6.jpg", quality=100, xmp=ATTRIBUTE.format(6).encode())
    halves.save(HOME / "xmp-8.jpg", quality=100, xmp=ELEMENT.format(8).encode())
    halves.save(HOME / "exif-3-xmp-6.jpg", quality=100, exif=exif(3), xmp=ATTRIBUTE.format(6).encode())
    expected = {}
    for file in sorted(HOME.iterdir()):
        upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        expected[file.name] = [upright.width, upright.height, np.array(upright).flatten().tolist()]
    (HOME / "expected.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in expected.items()) + "\n}\n")
    common.why(HOME, "upright.py", "Pictures that are turned, and upright.", {"bytes": 0}, "Bytes are equal; the JPEGs are flat.")


if __name__ == "__main__":
    main()

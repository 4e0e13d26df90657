"""Writes `fixtures/counts`: how many positions the processors make of pictures and clips of random sizes, several in one prompt.

    python oracles/counts.py

The pictures are black: their content has no say.
"""

import json

import common
from common import FIXTURES
from PIL import Image

from families import open_checkpoint

KINDS = ("llava", "llava_next", "smolvlm", "idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")
CASES = 16


def placeholders(kind):
    if not kind.startswith("qwen"):
        return "<image>", None
    eye, film = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
    return eye, "<|video_pad|>" if kind == "qwen3_vl" else film


def black(size):
    return Image.new("RGB", size)


def drawn(rng, kind):
    """One to three pictures, some smaller than a patch or very long, and for Qwen up to two clips."""
    side = lambda: int(rng.integers(1, [9, 60, 140][rng.integers(3)]))
    pictures = [(side(), side()) for _ in range(rng.integers(1, 4))]
    many = int(rng.integers(3)) if kind.startswith("qwen") else 0
    clips = [(int(rng.integers(1, 8)), int(rng.integers(8, 60)), int(rng.integers(8, 60))) for _ in range(many)]
    return pictures, clips


def counted(checkpoint, kind, pictures, clips):
    eye, film = placeholders(kind)
    prompt = "A" + eye + "b".join([eye] * (len(pictures) - 1) + [film] * len(clips)) + "?"
    row = {"prompt": prompt, "images": [black(size) for size in pictures]}
    if clips:
        row |= {"videos": [[black(size)] * frames for frames, *size in clips], "fps": 2.0}
    case = {"pictures": pictures, "clips": clips, "prompt": prompt}
    try:
        [ids] = checkpoint.family.prepare(checkpoint, [row]).input_ids.tolist()
    except (ValueError, ZeroDivisionError) as refusal:
        return case | {"refused": str(refusal)}
    config = checkpoint.model.config
    shown = [config.image_token_id, getattr(config, "video_token_id", None)]
    return case | {"length": len(ids), "tokens": shown, "shown": sum(ids.count(token) for token in shown)}


def main():
    found = {}
    for folder in sorted(FIXTURES.glob("*/model/config.json")):
        kind = json.loads(folder.read_text()).get("model_type")
        if kind in KINDS:
            name, checkpoint = folder.parts[-3], open_checkpoint(folder.parent)
            rng = common.rng(6, name)
            found[name] = [counted(checkpoint, kind, *drawn(rng, kind)) for _ in range(CASES)]
            print(name, [case.get("length", "refused") for case in found[name]])
    where = FIXTURES / "counts"
    where.mkdir(exist_ok=True)
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in found.items()]
    (where / "cases.json").write_text("{" + ",\n".join(lines) + "}\n")
    common.why(where, "counts.py", "Positions that processors make of pictures and clips.", {"length": 0, "shown": 0}, "Whole numbers.")


if __name__ == "__main__":
    main()

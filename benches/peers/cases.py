"""Every case: what is done, by whom, how often, how closely results must agree, and how many operations it takes."""

import dataclasses

ALL = ("plain", "packed", "nnsight", "lens")
# How many rows share a pass, where a library leaves that to its user.
ROWS = {("captum", "ig"): (1, 8, 50), ("captum", "occlusion"): (1, 8, 49), ("packed", "patch"): (8, 32), ("packed", "heads"): (8, 32)}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    work: str
    # Python libraries that can do it.
    sides: tuple
    # Largest difference, over the largest value of PyTorch's result.
    tolerance: float
    repetitions: int = 7
    warm: int = 1
    rounds: int = 2
    # Changes that a library with a complete pass for each, and one that packs them, carries out; none: all of them. What is
    # left out is reckoned at the same rate.
    cells: int | None = None
    packed_cells: int | None = None
    # Processed pixels of one side of a hidden cell.
    side: int = 16

    @property
    def kind(self):
        return self.name.split("-", 1)[0]

    @property
    def what(self):
        return self.name.split("-", 1)[1]


CASES = [
    Case("vit-1", "ViT-B/32, 1 picture", ("plain",), 1e-4),
    Case("vit-8", "ViT-B/32, 8 pictures", ("plain",), 1e-4),
    Case("vit-grad-1", "ViT-B/32 and the gradient of the pixels, 1 picture", ("plain",), 1e-3),
    Case("vit-grad-8", "ViT-B/32 and the gradient of the pixels, 8 pictures", ("plain",), 1e-3),
    Case("prompt-128", "SmolLM-135M, prompt of 128", ("plain",), 1e-4),
    Case("decode-64", "SmolLM-135M, 64 tokens after 16, with a cache", ("plain",), 0.0, repetitions=3),
    Case("read-vit-1", "ViT-B/32, 1 picture, every residual read", ("plain", "nnsight", "lens"), 1e-4),
    Case("read-vit-8", "ViT-B/32, 8 pictures, every residual read", ("plain", "nnsight", "lens"), 1e-4),
    Case("read-lm-128", "SmolLM-135M, prompt of 128, every residual read", ("plain", "nnsight", "lens"), 1e-4),
    Case("patch-shapes", "patching, 4 layers x 73 positions, shapes model", ALL, 1e-4, repetitions=2),
    Case("patch-smolvlm", "patching, 30 layers x 90 positions, SmolVLM-256M", ALL, 1e-4, repetitions=1, warm=0, rounds=1, cells=4,
         packed_cells=64),
    Case("heads-shapes", "every head to zero, 4 x 4, shapes model", ALL, 1e-4),
    Case("heads-smolvlm", "every head to zero, 30 x 9, SmolVLM-256M", ALL, 1e-4, repetitions=1, warm=0, cells=4,
         packed_cells=64),
    Case("ig-b32", "integrated gradients, 50 steps, ViT-B/32", ("plain", "captum"), 1e-3, repetitions=1, warm=0),
    Case("ig-shapes", "integrated gradients, 50 steps, shapes model", ("plain", "captum"), 1e-3, repetitions=3),
    Case("occlusion-b32", "occlusion, 14 x 14 cells, ViT-B/32", ("plain", "captum"), 1e-3, repetitions=1, warm=0),
    Case("occlusion-shapes", "occlusion, 16 x 16 cells, shapes model", ("plain", "captum"), 1e-3, repetitions=2, side=4),
    *(Case(f"pictures-{n}", f"Qwen2.5-VL's tower, 4 of 32 blocks, {n} picture{'s' * (n > 1)} of 3600 patches", ("plain",), 1e-4, repetitions=2,
           rounds=1) for n in (1, 2, 4, 8)),
    *(Case(f"positions-{n}", f"SmolLM-135M, 2 of 30 blocks, {n} positions", ("plain",), 1e-4, repetitions=2 if n < 50_000 else 1,
           warm=int(n < 50_000), rounds=1) for n in (1024, 4096, 16384, 65536)),
    Case("start-shapes", "start to first answer, shapes model", ("start",), 0.0, rounds=4),
    Case("start-smolvlm", "start to first token, SmolVLM-256M", ("start",), 0.0, rounds=3),
]
BY_NAME = {case.name: case for case in CASES}


@dataclasses.dataclass(frozen=True)
class Stack:
    """Sizes of a stack of blocks, and what a pass over so many positions takes, in operations."""

    blocks: int
    width: int
    heads: int
    kv_heads: int
    head: int
    mlp: int
    gated: bool
    causal: bool

    def products(self, positions):
        inner = self.width * self.head * (2 * self.heads + 2 * self.kv_heads)
        return 2 * positions * (inner + (3 if self.gated else 2) * self.width * self.mlp)

    def attention(self, positions):
        pairs = positions * (positions + 1) / 2 if self.causal else positions**2
        return 4 * pairs * self.heads * self.head

    def block(self, positions):
        return self.products(positions) + self.attention(positions)

    def whole(self, positions):
        return self.blocks * self.block(positions)

    def back(self, positions):
        """The gradient of the input alone: each product with a weight once more, each of attention twice."""
        return self.blocks * (self.products(positions) + 2 * self.attention(positions))


VIT = Stack(12, 768, 12, 12, 64, 3072, False, False)
LM = Stack(30, 576, 9, 3, 64, 1536, True, True)
TOWERS = {"shapes": (Stack(4, 96, 4, 4, 24, 256, False, False), 65, 2 * 64 * (192 * 96 + 96 * 128 + 128 * 128)),
          "smolvlm": (VIT, 1024, 2 * (1024 * 768 * 768 + 64 * 12288 * 576))}
TEXTS = {"shapes": (Stack(4, 128, 4, 2, 32, 256, True, True), 73, 66), "smolvlm": (LM, 90, 49280)}
PATCHES, CLASSES = 2 * 49 * 3072 * 768, 2 * 768 * 1000
WORDS = 2 * 576 * 49152


def operations(case):
    """Floating-point operations of mmlens: what it leaves out because it knows it already is not counted."""
    kind, what = case.kind, case.what
    rows = 8 if what.endswith("-8") or what == "8" else 1
    if kind in ("vit", "read") and what != "lm-128":
        forward = PATCHES + VIT.whole(50) + (CLASSES if kind == "read" else 0)
        return rows * (forward + (PATCHES + VIT.back(50) if "grad" in what else 0))
    if case.name in ("prompt-128", "read-lm-128"):
        return LM.whole(128) + WORDS
    if kind in ("ig", "occlusion"):
        passes = 50 if kind == "ig" else 14 * 14 if what == "b32" else 16 * 16
        if what == "b32":
            one, back = PATCHES + VIT.whole(50) + CLASSES, PATCHES + VIT.back(50) + CLASSES
        else:
            one = seen(what) + said(what, 0)
            tower, positions, around = TOWERS[what]
            text, length, vocab = TEXTS[what]
            back = tower.back(positions) + around + text.back(length) + 2 * text.width * vocab
        return 2 * one + passes * (one + (back if kind == "ig" else 0))
    if kind in ("patch", "heads"):
        text, length, _ = TEXTS[what]
        places = length if kind == "patch" else text.heads
        runs = 3 if kind == "patch" else 2
        return runs * (seen(what) + said(what, 0)) + places * sum(said(what, layer) for layer in range(text.blocks))
    return None


def seen(what):
    tower, positions, around = TOWERS[what]
    return tower.whole(positions) + around


def said(what, layer):
    """The language model from a layer on, and the logits of the last position."""
    text, length, vocab = TEXTS[what]
    return (text.blocks - layer) * text.block(length) + 2 * text.width * vocab


# Every weight of SmolLM-135M, tied, once for each of 64 tokens.
READ = {"decode-64": 64 * 4 * 134_515_008}

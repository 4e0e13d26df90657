"""Writes `fixtures/clip-*/trace-*.safetensors` and `fixtures/siglip-*/...`: both towers of a dual encoder, site by site.

    python oracles/make_dual.py [NAME ...] [--out DIR]

What a trace holds is said in `families/dual.py`; `trace.py` makes one of any checkpoint.
"""

import argparse
from pathlib import Path

import common
from common import FIXTURES

import trace
from make_traces import opened, rounding

SLIM = ["resid_post", "blocks.0.attn.pattern", "final_norm", "pooled", "projected"]
NO_PATTERN = ["pooled", "projected", "pool.pattern", "blocks.1.resid_post"]
MANY = ["vision.pixels", "vision.blocks.0.attn.pattern", "vision.blocks.1.resid_mid", "vision.pooled", "text.embed",
        "text.blocks.0.attn.z", "text.blocks.1.mlp.pre", "text.final_norm", "text.projected"]
UNICODE = "¿Où est 円? 😀 — «Größe» don't"
CASES = {
    "pair": (["tall"], ["a photo of a red circle"], None, MANY),
    "table": (["square", "wide"], ["a cat", "The SMALL yellow star isn't here, is it?", UNICODE], NO_PATTERN, ["vision.pixels"]),
    "tiny": (["tiny", "tall"], ["two  blue\n squares", "ring"], NO_PATTERN, ["vision.pixels", "text.embed"]),
}
NAMES = ["clip-a", "clip-b", "clip-old", "siglip-a", "siglip-2", "siglip-old"]
OUTPUTS = ["input_ids", "pixel_values", "attention_mask", "image_embeds", "text_embeds", "logits_per_image", "target", "grad."]


def make(name, out):
    folder = out / name
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, (images, texts, read, grads) in CASES.items():
        if read is None and name in ("clip-old", "siglip-old", "siglip-2"):
            read = SLIM
        rows = [{"images": images, "texts": texts}]
        batch = trace.prepare(checkpoint, opened(rows))
        assert (batch.attention_mask is not None) == name.startswith("clip")
        found = trace.tensors(checkpoint, batch, grads=grads)
        kept = found if read is None else {s: x for s, x in found.items() if any(part in s for part in read + OUTPUTS)}
        about = {"rows": rows, "pictures": "fixtures/pictures/NAME.png"}
        path = common.save(folder / f"trace-{label}.safetensors", kept, about)
        activations, gradients = rounding(checkpoint, batch, grads)
        measured[label] = {"float32_activations": activations, "float32_gradients": gradients}
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, ids {list(batch.input_ids.shape)}, {measured[label]}")
    common.why(
        folder,
        "make_dual.py",
        "A tiny random dual encoder and what transformers computes with it, site by site.",
        {"input_ids": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor. `measured` holds the error of float32 itself (against the same pass in "
        "float64); the bounds leave an order of magnitude and more above it for another order of summation.",
        cases=listed,
        measured=measured,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or NAMES:
        make(name, args.out)


if __name__ == "__main__":
    main()

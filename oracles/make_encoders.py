"""Writes `trace-*.safetensors` and `why.json` of `fixtures/{vit,bert}-*`: models that say all they say in one pass.

    python oracles/make_encoders.py [NAME ...] [--out DIR]
"""

import argparse
from pathlib import Path

import common
from common import FIXTURES

import trace
from make_traces import opened, rounding

MANY = ["vision.pixels", "vision.embed", "vision.blocks.0.attn.pattern", "vision.blocks.0.attn.result", "vision.blocks.1.attn.v",
        "vision.blocks.1.resid_mid", "vision.blocks.1.mlp.pre", "vision.final_norm", "vision.pooled"]  # fmt: skip
VIT_SLIM = ["vision.blocks.*.resid_post", "vision.blocks.*.attn.pattern", "vision.pooled", "vision.logits"]
VIT = {
    "full": ([{"images": ["square"]}], None, MANY),
    "wide": ([{"images": ["wide"]}], VIT_SLIM, ["vision.pixels"]),
    "tiny": ([{"images": ["tiny"]}], VIT_SLIM, ["vision.pixels"]),
    "batch": ([{"images": [name]} for name in ("tall", "square", "tiny")], VIT_SLIM, ["vision.pixels"]),
}
TEXT_MANY = ["text.embed", "text.blocks.0.attn.pattern", "text.blocks.0.attn.result", "text.blocks.0.resid_mid", "text.blocks.0.normalized_resid_mid",
             "text.blocks.1.attn.k", "text.blocks.1.mlp.pre", "text.blocks.1.resid_post", "text.final_norm"]  # fmt: skip
TEXT_SLIM = ["text.blocks.*.resid_post", "text.blocks.*.attn.pattern", "text.final_norm"]
MASKED = "The small [MASK] star is left of it."
TEXTS = ["A photo of [MASK].", "¿Où est 円? 😀 — «Größe» don't [MASK] naïve Äpfel", "two  blue\n squares"]
BERT = {
    "full": ([{"prompt": MASKED}], None, TEXT_MANY),
    "unicode": ([{"prompt": TEXTS[1]}], TEXT_SLIM, ["text.embed"]),
    "texts": ([{"texts": TEXTS}], TEXT_SLIM, ["text.embed"]),
}
BARE = {label: (rows, read if read is None else [*read, "text.pooled"], []) for label, (rows, read, _) in BERT.items()}
CASES = {"vit-a": VIT, "vit-b": VIT, "vit-old": VIT, "bert-a": BERT, "bert-b": BARE, "bert-old": BERT}
WHAT = {
    "vit": "A tiny random ViT classifier and what transformers computes with it, site by site.",
    "bert": "A tiny random BERT and what transformers computes with it, site by site.",
}


def make(name, out):
    folder = out / name
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, (rows, read, grads) in CASES[name].items():
        batch = trace.prepare(checkpoint, opened(rows))
        found = trace.tensors(checkpoint, batch, read, grads=grads, logits=label != "texts")
        about = {"rows": rows, "prompts": batch.prompts, "pictures": "fixtures/pictures/NAME.png"}
        path = common.save(folder / f"trace-{label}.safetensors", found, about)
        activations, gradients = rounding(checkpoint, batch, grads)
        measured[label] = {"float32_activations": activations, "float32_gradients": gradients}
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, target {found['target'].tolist()}, {measured[label]}")
    common.why(
        folder,
        "make_encoders.py",
        WHAT[name.split("-")[0]],
        {"input_ids": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor. `measured` holds the error of float32 itself (against the same pass in "
        "float64); the bounds leave an order of magnitude and more above it for another order of summation.",
        cases=listed,
        measured=measured,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or CASES:
        make(name, args.out)


if __name__ == "__main__":
    main()

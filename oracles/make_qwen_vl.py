"""Writes `fixtures/qwen*-vl-*/trace-*.safetensors` from the tiny Qwen-VL checkpoints.

    python oracles/make_qwen_vl.py [NAME ...]
"""

import argparse

import common
import torch
from common import FIXTURES
from PIL import Image

import pictures
from families import qwen_vl

SLIM = ["text.blocks.*.resid_post", "connector.out", "text.final_norm"]
TOWER = ["vision.blocks.*.resid_post", "vision.blocks.0,1.attn.pattern"]
PATTERNS = ["text.blocks.*.attn.pattern"]
MANY = [
    "vision.pixels",
    "vision.embed",
    "vision.blocks.0.attn.pattern",
    "vision.blocks.0.attn.q",
    "vision.blocks.0.mlp.post",
    "vision.blocks.1.resid_mid",
    "connector.out",
    "text.input",
    "text.blocks.0.attn.z",
    "text.blocks.0.mlp.gate",
    "text.blocks.1.attn.k",
    "text.final_norm",
]
CLIP = [[f"clip-{i}" for i in range(5)]]
EYE, FILM = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"


def case(rows, read=SLIM, count=12, grads=("vision.pixels",), logits=False):
    return {"rows": rows, "read": read, "count": count, "grads": grads, "logits": logits}


def ask(question, *images, **more):
    return {"ask": question, "images": images} | more


def raw(prompt, *images, **more):
    return {"prompt": prompt, "images": images} | more


def cases(name):
    full = case([raw(f"{EYE}Hi?", "tiny")], None, grads=MANY, logits=True)
    if name.startswith("qwen3") and name.endswith("a"):
        full["grads"] = [*MANY, "text.blocks.0.deepstack", "connector.blocks.1.deepstack"]
    film = FILM if not name.startswith("qwen3") else "<|video_pad|>"
    shared = {
        "full": full,
        "ask": case([ask("What colour is the square?", "wide")], SLIM + TOWER),
        "unicode": case([raw(f"¿Dónde está 円? 😀 — {EYE} «Größe» ", "square")], grads=[]),
        "two-images": case([ask("Is it red?", "tall", "wide")], grads=[]),
        "batch": case([raw(f"{EYE}Yes or no?", "square"), raw(f"Say: is {EYE} blue, red or green?", "tall")], grads=[]),
        "text": case([raw("There are three triangles")], ["text.embed", "text.blocks.*.resid_post"], grads=["text.input"], logits=True),
        "video": case([ask("What happens?", videos=CLIP, fps=3.0)], SLIM + ["vision.blocks.*.resid_post"]),
        "both": case([raw(f"A {EYE} then {FILM} and {EYE}?", "tiny", "wide", videos=CLIP, fps=2.0)], grads=[]),
        "batch-mixed": case(
            [raw("Hello there"), ask("Red?", "wide"), raw(f"{FILM}?", videos=CLIP, fps=24.0)], grads=[]
        ),
    }
    if not name.endswith("a"):  # what the layout has to do with: weights, settings, processors
        del shared["full"], shared["two-images"], shared["batch"], shared["both"]
        shared["ask"]["read"] = SLIM + ["vision.blocks.*.resid_post", *PATTERNS]
        shared["video"]["read"] = SLIM
    return shared


def opened(rows):
    """The rows with their pictures' names replaced by pictures."""
    load = lambda name: Image.open(pictures.FOLDER / f"{name}.png")
    out = []
    for row in rows:
        row = row | {"images": [load(name) for name in row.get("images", [])]}
        if "videos" in row:
            row["videos"] = [[load(name) for name in frames] for frames in row["videos"]]
        out.append(row)
    return out


def margins(checkpoint, batch, out):
    """Per row, the smallest lead of a greedy token over the next best."""
    checkpoint.model.model.rope_deltas = None
    with torch.no_grad():
        made = checkpoint.model.generate(
            **batch.given, max_new_tokens=out["generated"].shape[1], do_sample=False, return_dict_in_generate=True, output_logits=True
        )
    best = torch.stack(made.logits, 1).topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]).amin(-1).tolist()


def padding(checkpoint, rows, out):
    """How far each row of a padded batch is from the same row alone."""
    worst = 0.0
    for i, row in enumerate(rows):
        alone = qwen_vl.tensors(checkpoint, qwen_vl.prepare(checkpoint, [row]), ["text.final_norm"])
        real = out["attention_mask"][i].bool()
        assert out["input_ids"][i][real].tolist() == alone["input_ids"][0].tolist()
        worst = max(worst, common.difference(out["text.final_norm"][i][real], alone["text.final_norm"][0])[1])
    assert worst < 1e-5, worst
    return worst


def make(name):
    folder = FIXTURES / name
    checkpoint = qwen_vl.open_checkpoint(folder / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, c in cases(name).items():
        rows = opened(c["rows"])
        batch = qwen_vl.prepare(checkpoint, rows)
        out = qwen_vl.tensors(checkpoint, batch, c["read"], c["count"], c["grads"], logits=c["logits"])
        about = {"rows": c["rows"], "prompts": batch.prompts, "pictures": "fixtures/pictures/NAME.png", "generate": c["count"]}
        path = common.save(folder / f"trace-{label}.safetensors", out, about)
        measured[label] = {"margins": margins(checkpoint, batch, out)}
        if len(rows) > 1:
            measured[label]["padded_against_alone"] = padding(checkpoint, rows, out)
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, {out['generated'].tolist()}, {measured[label]}")
    common.why(
        folder,
        "make_qwen_vl.py",
        "A tiny random Qwen-VL checkpoint and what transformers computes with it, site by site.",
        {"input_ids": 0, "generated": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor, as for the LLaVA checkpoints. Towers are in the order of pixel_values.",
        cases=listed,
        measured=measured,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    for name in args.names or sorted(f.name for f in FIXTURES.glob("qwen*-vl-*")):
        make(name)


if __name__ == "__main__":
    main()

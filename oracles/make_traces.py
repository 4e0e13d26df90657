"""Writes `trace-*.safetensors`, `tokens.json` and `why.json` of the fixtures that `cases_*.py` list, from the tiny checkpoints.

    python oracles/make_traces.py [NAME ...]
"""

import argparse
import importlib
from pathlib import Path

import common
import torch
from common import FIXTURES
from PIL import Image

import compare
import double
import pictures
import recordings
import trace

STRINGS = [
    "",
    "Hello",
    "What colour is the square?",
    " leading and trailing ",
    "two  spaces\n\n\tand 12345 digits",
    "Où est 円? 😀 Größe",
    "<image>",
    "a<image>b <image> c",
    "<s>inside</s>",
    "don't I'll we'VE",
]


def opened(rows):
    """The rows with the names of pictures and recordings replaced by these."""
    load = lambda name: Image.open(pictures.FOLDER / f"{name}.png")
    out = []
    for row in rows:
        row = row | {"images": [load(name) for name in row.get("images", ())]}
        row |= {"recordings": [recordings.load(pictures.FOLDER / name) for name in row["recordings"]]} if "recordings" in row else {}
        out.append(row | ({"videos": [[load(name) for name in clip] for clip in row["videos"]]} if "videos" in row else {}))
    return out


def rounding(checkpoint, batch, grads):
    """Largest relative error of float32 against float64 over all sites, and over the gradients."""
    sites, gradients, _ = trace.run(checkpoint, batch, grads, check=False)
    exact, exact_gradients, _ = double.in_double(checkpoint, batch, grads)
    seen = lambda site, x: x > compare.MASKED if site.endswith(".scores") else torch.ones_like(x, dtype=torch.bool)
    values = [common.difference(x[seen(s, x)], exact[s][seen(s, x)])[1] for s, x in sites.items()]
    slopes = [common.difference(g, exact_gradients[s])[1] for s, g in gradients.items()]
    return max(values), max(slopes, default=0.0)


def padding(checkpoint, rows, out):
    """How far each row of a padded batch is from the same row alone."""
    worst = 0.0
    for i, row in enumerate(rows):
        alone = trace.tensors(checkpoint, trace.prepare(checkpoint, [row]), ["text.final_norm"])
        real = out["attention_mask"][i].bool()
        assert out["input_ids"][i][real].tolist() == alone["input_ids"][0].tolist()
        worst = max(worst, common.difference(out["text.final_norm"][i][real], alone["text.final_norm"][0])[1])
    assert worst < 1e-5, worst
    return worst


def margins(checkpoint, batch, out):
    """Per row, the smallest lead of a greedy token over the next best: how safe it is to compare tokens exactly."""
    how = {"max_new_tokens": out["generated"].shape[1], "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    own = getattr(checkpoint.family, "generating", None)
    with torch.no_grad():
        made = own(checkpoint, batch, **how) if own else checkpoint.model.generate(**batch.kwargs(), **how)
    best = torch.stack(made.logits, 1).topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]).amin(-1).tolist()


def tokens(checkpoint):
    tokenizer = checkpoint.tokenizer
    rows = []
    for text in STRINGS:
        for special in (True, False):
            ids = tokenizer(text, add_special_tokens=special)["input_ids"]
            rows.append(
                {
                    "text": text,
                    "add_special_tokens": special,
                    "ids": ids,
                    "decoded": tokenizer.decode(ids),
                    "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True),
                }
            )
    return rows


def make(name, cases, what):
    folder = FIXTURES / name
    checkpoint = trace.open_checkpoint(folder / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, c in cases.items():
        rows = opened(c["rows"])
        batch = trace.prepare(checkpoint, rows)
        out = trace.tensors(checkpoint, batch, c["read"], c["count"], c["grads"], logits=c["logits"])
        about = {"rows": c["rows"], "prompts": batch.prompts, "pictures": "fixtures/pictures/NAME.png", "generate": c["count"]}
        if label == "stop":
            assert out["generated"].shape[1] < c["count"], "no end token met: choose another STOP in the script that builds the checkpoint"
        path = common.save(folder / f"trace-{label}.safetensors", out, about)
        values, slopes = rounding(checkpoint, batch, c["grads"])
        measured[label] = {"float32_activations": values, "float32_gradients": slopes}
        if "generated" in out:
            measured[label]["margins"] = margins(checkpoint, batch, out)
        if len(rows) > 1 and "text.final_norm" in out:
            measured[label]["padded_against_alone"] = padding(checkpoint, rows, out)
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, {out.get('generated', out['target']).tolist()}, {measured[label]}")
    common.write_json(folder / "tokens.json", tokens(checkpoint))
    common.why(
        folder,
        "make_traces.py",
        what,
        {"input_ids": 0, "generated": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor. `measured` holds the error of float32 itself (against the same pass in "
        "float64); the bounds leave one to two orders of magnitude above it for another order of summation. Token ids and greedy tokens "
        "are exact: the margins between the two best logits are far above the error. Pixels are one multiplication, one subtraction "
        "and one division from whole numbers that must be equal.",
        cases=listed,
        measured=measured,
    )


def main():
    modules = [importlib.import_module(path.stem) for path in sorted(Path(__file__).parent.glob("cases_*.py"))]
    jobs = {}
    for module in modules:
        jobs |= {name: lambda name=name, m=module: make(name, m.CASES[name], m.WHAT) for name in module.CASES}
        jobs |= getattr(module, "OTHERS", {})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(jobs))
    for name in parser.parse_args().names or jobs:
        jobs[name]()


if __name__ == "__main__":
    main()

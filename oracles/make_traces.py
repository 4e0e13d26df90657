"""Writes `fixtures/llava-*/trace-*.safetensors`, `tokens.json` and `fixtures/rope` from the tiny checkpoints.

    python oracles/make_traces.py [NAME ...]
"""

import argparse
import json
import shutil

import common
import torch
from common import FIXTURES
from PIL import Image
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import compare
import pictures
import trace

SLIM = ["text.blocks.*.resid_post", "connector.out", "text.final_norm"]
TOWER = ["vision.blocks.*.resid_post", "vision.blocks.*.attn.pattern"]
PATTERNS = ["text.blocks.*.attn.pattern"]
TEXT_ONLY = ["text.*", "text.blocks.*.resid_post", "text.blocks.*.attn_out", "text.blocks.*.mlp_out"]
# The largest checkpoint's scores are left out: its patterns follow from them, and the others keep theirs.
ALL_BUT_SCORES = ["*", "*.*", "*.blocks.*.*", "*.blocks.*.attn.q,k,v,q_rot,k_rot,pattern,z,result", "*.blocks.*.mlp.*"]
# One gradient at each kind of place: pixels, streams of both towers, between them, heads, patterns, neurons.
MANY = [
    "vision.pixels",
    "vision.embed",
    "vision.blocks.0.attn.pattern",
    "vision.blocks.0.mlp.post",
    "vision.blocks.1.resid_mid",
    "connector.out",
    "text.input",
    "text.blocks.0.attn.z",
    "text.blocks.0.mlp.pre",
    "text.blocks.0.mlp.gate",
    "text.blocks.1.attn.k",
    "text.blocks.1.resid_pre",
    "text.final_norm",
]


def case(rows, read=SLIM, count=12, grads=("vision.pixels",), logits=False):
    """`read=None` keeps every site. `text.final_norm` stands in for `logits` where they would be most of the file."""
    return {"rows": rows, "read": read, "count": count, "grads": grads, "logits": logits}


def ask(question, *images):
    return {"ask": question, "images": images}


def raw(prompt, *images):
    return {"prompt": prompt, "images": images}


UNICODE = "¿Dónde está 円? 😀 — <image> «Größe» "
CASES = {
    "llava-a": {
        "full": case([raw("<image>\nHi?", "tall")], ALL_BUT_SCORES, grads=MANY, logits=True),
        "ask": case([ask("What colour is the square left of the circle?", "wide")], SLIM + TOWER),
        "unicode": case([raw(UNICODE, "square")], grads=[]),
        "two-images": case([raw("A <image> and B\n<image>: same?", "tiny", "wide")]),
        "batch": case([raw("<image>Yes or no?", "square"), raw("Say: is <image> blue, red or green?", "tall")]),
        "text": case([raw("There are three triangles")], TEXT_ONLY, grads=["text.input"], logits=True),
    },
    "llava-b": {
        "full": case([raw("<image>Hi?", "tall")], None, grads=MANY, logits=True),
        "ask": case([ask("What colour is the square?", "wide")], SLIM + TOWER),
        "unicode": case([raw(UNICODE, "square")], grads=[]),
        "two-images": case([ask("Is it red?", "tiny", "square")], grads=[]),
        "double-bos": case([raw("<|bos|><image>", "wide")], grads=[]),
        "stop": case([ask("How many triangles are there?", "square")], count=24, grads=[]),
    },
    "llava-multi": {
        "full": case([raw("Hi<image>?", "tall")], None, grads=MANY, logits=True),
        "ask": case([ask("  Which shape is largest? ", "wide", "tiny")], SLIM + TOWER),
        "unicode": case([raw(UNICODE, "square")], grads=[]),
    },
    "llava-old": {
        "ask": case([ask("What colour is the square?", "wide")], SLIM + TOWER + PATTERNS, logits=True),
        "unicode": case([raw(UNICODE, "square")], grads=[]),
        "batch": case([ask("Is it blue?", "square"), ask("How many circles are there?", "tall")], grads=[]),
    },
}

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
    """The rows with their pictures' names replaced by pictures."""
    load = lambda name: Image.open(pictures.FOLDER / f"{name}.png")
    return [row | {"images": [load(name) for name in row["images"]]} for row in rows]


def in_double(checkpoint, batch, grads):
    """The same pass in float64: what float32 itself costs. transformers' norm insists on float32, so it is replaced here."""

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    forward, LlamaRMSNorm.forward = LlamaRMSNorm.forward, norm
    checkpoint.model.double()
    try:
        pixels = None if batch.pixel_values is None else batch.pixel_values.double()
        double = trace.Batch(batch.input_ids, batch.attention_mask, pixels)
        return trace.run(checkpoint, double, grads, check=False)
    finally:
        LlamaRMSNorm.forward = forward
        checkpoint.model.float()


def rounding(checkpoint, batch, grads):
    """Largest relative error of float32 against float64 over all sites, and over the gradients."""
    sites, gradients, _ = trace.run(checkpoint, batch, grads, check=False)
    exact, exact_gradients, _ = in_double(checkpoint, batch, grads)
    seen = lambda site, x: x > compare.MASKED if site.endswith("attn.scores") else torch.ones_like(x, dtype=torch.bool)
    values = [common.difference(x[seen(s, x)], exact[s][seen(s, x)])[1] for s, x in sites.items()]
    slopes = [common.difference(g, exact_gradients[s])[1] for s, g in gradients.items()]
    return max(values), max(slopes, default=0.0)


def padding(checkpoint, rows, out):
    """How far each row of a padded batch is from the same row alone."""
    worst = 0.0
    for i, row in enumerate(rows):
        alone = trace.tensors(checkpoint, trace.prepare(checkpoint, [row]), SLIM)
        real = out["attention_mask"][i].bool()
        assert out["input_ids"][i][real].tolist() == alone["input_ids"][0].tolist()
        worst = max(worst, common.difference(out["text.final_norm"][i][real], alone["text.final_norm"][0])[1])
    assert worst < 1e-5, worst
    return worst


def margins(checkpoint, batch, out):
    """Per row, the smallest lead of a greedy token over the next best: how safe it is to compare tokens exactly."""
    with torch.no_grad():
        made = checkpoint.model.generate(
            **batch.kwargs(), max_new_tokens=out["generated"].shape[1], do_sample=False, return_dict_in_generate=True, output_logits=True
        )
    best = torch.stack(made.logits, 1).topk(2, dim=-1).values
    return (best[..., 0] - best[..., 1]).amin(-1).tolist()


def tokens(checkpoint):
    tokenizer = checkpoint.processor.tokenizer
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


def make(name):
    folder = FIXTURES / name
    checkpoint = trace.open_checkpoint(folder / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, c in CASES[name].items():
        rows = opened(c["rows"])
        batch = trace.prepare(checkpoint, rows)
        out = trace.tensors(checkpoint, batch, c["read"], c["count"], c["grads"], logits=c["logits"])
        about = {"rows": c["rows"], "prompts": batch.prompts, "pictures": "fixtures/pictures/NAME.png", "generate": c["count"]}
        if label == "stop":
            assert out["generated"].shape[1] < c["count"], "no end token met: choose another STOP in tiny_llava.py"
        path = common.save(folder / f"trace-{label}.safetensors", out, about)
        values, slopes = rounding(checkpoint, batch, c["grads"])
        measured[label] = {"float32_activations": values, "float32_gradients": slopes, "margins": margins(checkpoint, batch, out)}
        if len(rows) > 1:
            measured[label]["padded_against_alone"] = padding(checkpoint, rows, out)
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, {out['generated'].tolist()}, {measured[label]}")
    common.write_json(folder / "tokens.json", tokens(checkpoint))
    common.why(
        folder,
        "make_traces.py",
        "A tiny random LLaVA checkpoint and what transformers computes with it, site by site.",
        {"input_ids": 0, "generated": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor. `measured` holds the error of float32 itself (against the same pass in "
        "float64); the bounds leave one to two orders of magnitude above it for another order of summation. Token ids and greedy tokens "
        "are exact: the margins between the two best logits are far above the error. Pixels are one multiplication, one subtraction "
        "and one division from whole numbers that must be equal.",
        cases=listed,
        measured=measured,
    )


ROPE = {
    "linear": {"rope_type": "linear", "factor": 2.7},
    # Longer than max_position_embeddings (below): the frequencies stretch.
    "dynamic": {"rope_type": "dynamic", "factor": 2.3},
    "yarn": {"rope_type": "yarn", "factor": 3.3, "original_max_position_embeddings": 37},
    "yarn-mscale": {
        "rope_type": "yarn",
        "factor": 5.0,
        "original_max_position_embeddings": 29,
        "beta_fast": 9.0,
        "beta_slow": 0.6,
        "mscale": 0.7,
        "mscale_all_dim": 1.3,
        "truncate": False,
    },
    "yarn-attention-factor": {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 64,
        "attention_factor": 1.21,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 31,
    },
}


def make_rope():
    """The weights of `llava-b` under other rotary settings: only `config.json` differs. Both spellings of each must read the same."""
    folder, source = FIXTURES / "rope", FIXTURES / "llava-b" / "model"
    shutil.rmtree(folder, ignore_errors=True)
    base = json.loads((source / "config.json").read_text())
    prompt = "Is there a green star above the yellow ring? Yes, there is one."
    for label, settings in ROPE.items():
        results = []
        for spelling in ("new", "old"):
            config = json.loads(json.dumps(base))
            text = config["text_config"]
            del text["rope_parameters"]
            text["max_position_embeddings"] = 20 if label == "dynamic" else 160
            if spelling == "new":
                text["rope_parameters"] = settings | {"rope_theta": 700.0}
            else:
                scaling = dict(settings)
                if label != "llama3":  # llama3 was never written with the older word
                    scaling["type"] = scaling.pop("rope_type")
                text |= {"rope_theta": 700.0, "rope_scaling": scaling}
            common.write_json(folder / f"{label}.{spelling}.json", config)
            where = folder / "model"
            shutil.copytree(source, where)
            common.write_json(where / "config.json", config)
            checkpoint = trace.open_checkpoint(where)
            shutil.rmtree(where)
            batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": []}])
            out = trace.tensors(checkpoint, batch, ["text.blocks.0.attn.q_rot,k_rot", "text.final_norm"])
            rotary = checkpoint.model.model.language_model.rotary_emb
            out["inv_freq"] = rotary.inv_freq
            out["attention_scaling"] = torch.tensor(float(rotary.attention_scaling))
            del out["logits"]
            results.append(out)
        new, old = results
        assert all(torch.equal(new[k], old[k]) for k in new), label
        common.save(folder / f"{label}.safetensors", new, {"prompt": prompt, "weights": "fixtures/llava-b/model"})
        print(f"rope {label}: {new['inv_freq'].tolist()} x {new['attention_scaling'].item()}, {new['input_ids'].shape[1]} tokens")
    common.why(
        folder,
        "make_traces.py",
        "Rotary scaling: each NAME.new.json and NAME.old.json stands in for llava-b's config.json; NAME.safetensors is what follows.",
        {"inv_freq": 1e-6, "activations": 1e-4},
        "Frequencies are a few float32 operations from the settings; the rest as for the traces.",
        tokens="prompt is text without a picture, tokenised with the BOS that the post-processor adds",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*CASES, "rope"]))
    args = parser.parse_args()
    for name in args.names or [*CASES, "rope"]:
        make_rope() if name == "rope" else make(name)


if __name__ == "__main__":
    main()

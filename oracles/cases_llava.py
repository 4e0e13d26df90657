"""What is traced of the tiny LLaVA checkpoints, and the rotary scalings on the weights of one of them."""

import json
import shutil

import common
import torch
from common import FIXTURES

import trace
from cases import UNICODE, ask, raw
from cases import case as any_case

WHAT = "A tiny random LLaVA checkpoint and what transformers computes with it, site by site."

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


def case(rows, read=SLIM, **more):
    return any_case(rows, read, **more)


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
    "llava-siglip": {
        "ask": case([ask("What colour is the square?", "wide")], SLIM + TOWER + PATTERNS + ["vision.embed", "vision.input"], logits=True),
        "batch": case([raw("<image>Yes or no?", "rgba"), raw("Say: is <image> blue, red or green?", "tall")], grads=[]),
    },
    "llava-old": {
        "ask": case([ask("What colour is the square?", "wide")], SLIM + TOWER + PATTERNS, logits=True),
        "unicode": case([raw(UNICODE, "square")], grads=[]),
        "batch": case([ask("Is it blue?", "square"), ask("How many circles are there?", "tall")], grads=[]),
    },
}


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
    # The old context is `max_position_embeddings`.
    "llama3-original": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0},
    "longrope-short": {
        "rope_type": "longrope",
        "factor": 6.0,
        "short_factor": [1.0, 1.1, 1.3, 1.7],
        "long_factor": [1.0, 2.5, 4.0, 6.5],
        "original_max_position_embeddings": 96,
    },
    # Longer than the old context.
    "longrope-long": {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.1, 1.3, 1.7],
        "long_factor": [1.0, 2.5, 4.0, 6.5],
        "original_max_position_embeddings": 16,
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.6, "factor": 2.0},
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
                if not label.startswith("llama3"):  # llama3 was never written with the older word
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


OTHERS = {"rope": make_rope}

"""What is traced of the tiny SmolVLM and Idefics3 checkpoints."""

from cases import UNICODE, ask, case, raw

WHAT = "A tiny random SmolVLM or Idefics3 checkpoint and what transformers computes with it, site by site."

SLIM = ["text.blocks.*.resid_post", "connector.out", "text.final_norm"]
SEEN = ["text.blocks.1.attn_out", "connector.out", "text.final_norm"]
TOWER = ["vision.embed", "vision.input", "vision.blocks.*.resid_post", "vision.features"]
PATTERNS = ["text.blocks.*.attn.pattern"]

CASES = {
    "smolvlm-a": {
        "tall": case([ask("Red?", "tall")], SLIM + TOWER + ["vision.blocks.*.attn.pattern"] + PATTERNS),
        "wide": case([raw(UNICODE, "wide")], SEEN, grads=[]),
        "two-images": case([raw("A <image> and B\n<image>: same?", "tiny", "square")], SEEN, grads=[]),
        "batch": case([raw("<image>Yes or no?", "square"), raw("Say: is <image> blue, red or green?", "tall")], SEEN, grads=[]),
        "alpha": case([raw("<image><image>?", "rgba", "grey-alpha")], SEEN[1:], grads=[]),
        "text": case([ask("Three triangles?")], SLIM[:1] + SLIM[2:], grads=["text.input"]),
    },
    "smolvlm-old": {
        "wide": case([ask("Is it blue?", "wide")], SLIM + TOWER + ["vision.blocks.*.attn.pattern"] + PATTERNS),
        "tiny": case([raw(UNICODE, "tiny")], SLIM, grads=[]),
        "two-images": case([ask("Which is larger?", "tall", "square")], SEEN),
    },
    "idefics3-a": {
        "short": case([raw("<image>?", "tall")], SLIM + PATTERNS),
        "tall": case([raw(UNICODE, "tall")], SLIM + TOWER + ["vision.blocks.0.attn.pattern"]),
        "batch": case([ask("Yes or no?", "tiny", "tall"), ask("Is one blue, red or green?", "wide")], ["text.blocks.*.attn_out", "text.final_norm"], grads=[]),
    },
}

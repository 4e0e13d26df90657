"""What is traced of the tiny LLaVA-NeXT checkpoints."""

from cases import UNICODE, ask, case, raw

WHAT = "A tiny random LLaVA-NeXT checkpoint and what transformers computes with it, site by site."

SLIM = ["text.blocks.*.resid_post", "connector.out", "text.final_norm"]
SEEN = ["text.blocks.1.attn_out", "connector.out", "text.final_norm"]
TOWER = ["vision.blocks.*.resid_post", "vision.blocks.*.attn.pattern"]
PATTERNS = ["text.blocks.*.attn.pattern"]

CASES = {
    "llava-next-a": {
        "wide": case([ask("What colour is the square left of the circle?", "wide")], SLIM + TOWER, logits=True),
        "tall": case([raw(UNICODE, "tall")], SEEN),
        "two-images": case([raw("A <image> and B\n<image>: same?", "tiny", "square")], SEEN),
        "batch": case([raw("<image>Yes or no?", "square"), raw("Say: is <image> blue, red or green?", "tall")], SLIM),
        "alpha": case([raw("<image><image>?", "rgba", "palette-clear")], SEEN[1:], grads=[]),
    },
    "llava-next-old": {
        "wide": case([ask("Is it blue?", "wide")], SLIM + PATTERNS),
        "tiny": case([raw(UNICODE, "tiny")], SLIM, grads=[]),
    },
}

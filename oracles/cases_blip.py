"""What is traced of the tiny BLIPs."""

from cases import case

WHAT = "A tiny random BLIP and what transformers computes with it, site by site."

VISION = ["vision.blocks.*.resid_post", "vision.blocks.*.attn.pattern", "vision.final_norm"]
TEXT = ["text.blocks.*.resid_post", "text.blocks.*.attn.pattern", "text.blocks.*.cross.pattern", "text.blocks.*.cross_out", "text.final_norm"]
ENCODER = [name.replace("text.", "encoder.") for name in TEXT]
SLIM = VISION + TEXT
MANY = ["vision.pixels", "vision.blocks.0.attn.pattern", "vision.blocks.1.resid_mid", "vision.final_norm", "text.embed", "text.blocks.0.cross.k",
        "text.blocks.0.cross.pattern", "text.blocks.0.cross.result", "text.blocks.0.normalized_resid_cross", "text.blocks.1.attn.z",
        "text.blocks.1.resid_cross", "text.blocks.1.mlp.pre"]  # fmt: skip
UNICODE = "¿Où est 円? 😀 — «Größe» Äpfel"


def row(picture, **words):
    return {"images": [picture], **words}


def captions(read=None):
    return {
        "full": case([row("square")], read, grads=MANY, logits=True),
        "prompt": case([row("wide", prompt="a photo of")], SLIM, logits=True),
        "unicode": case([row("tall", prompt=UNICODE)], SLIM),
        "batch": case([row("tiny"), row("square", prompt="there isn't any"), row("tall", prompt="two")], SLIM),
    }


CASES = {
    "blip-a": captions(),
    "blip-old": captions(SLIM),
    "blip-qa": {
        "full": case([row("square", ask="What colour is it?")], None, grads=[*MANY, "encoder.embed", "encoder.blocks.0.cross.pattern"], logits=True),
        "wide": case([row("wide", ask="ring?")], SLIM + ENCODER, logits=True),
        "unicode": case([row("tall", ask=UNICODE)], SLIM + ENCODER, logits=True),
        "tiny": case([row("tiny", prompt="How many  green\n squares?")], SLIM + ENCODER, logits=True),
    },
    "blip-itm": {
        "full": case([row("square", texts=["a red circle"])], None, 0, [*MANY, "text.pooled"], logits=True),
        "table": case([row("wide", texts=["a cat", UNICODE, "two  blue\n squares"])], [*SLIM, "text.pooled"], 0, logits=True),
        "tiny": case([row("tiny", texts=["ring"])], [*SLIM, "text.pooled"], 0, logits=True),
        "tall": case([row("tall", texts=["ring"])], [*SLIM, "text.pooled"], 0, logits=True),
    },
}

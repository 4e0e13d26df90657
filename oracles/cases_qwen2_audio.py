"""What is traced of the tiny Qwen2-Audio checkpoints."""

from cases import case as any_case
from cases import heard

WHAT = "A tiny random Qwen2-Audio and what transformers computes with it, site by site."

SLIM = ["audio.blocks.*.resid_post", "audio.final_norm", "connector.out", "text.blocks.*.resid_post", "text.final_norm"]
MANY = [
    "audio.mel",
    "audio.embed",
    "audio.blocks.0.attn.pattern",
    "audio.blocks.1.resid_mid",
    "audio.blocks.1.mlp.post",
    "audio.final_norm",
    "connector.out",
    "text.input",
    "text.blocks.0.attn.z",
    "text.blocks.0.mlp.gate",
    "text.blocks.1.attn.k",
    "text.final_norm",
]
ONE = "<|audio_bos|><|AUDIO|><|audio_eos|>"
UNICODE = f"¿Dónde está 円? 😀 — {ONE} «Größe» "


def case(rows, read=SLIM, grads=("audio.mel",), **more):
    return any_case(rows, read, grads=grads, **more)


CASES = {
    "qwen2-audio-a": {
        "full": case([heard("chirp", prompt=f"{ONE}Hi?")], None, grads=MANY, logits=True),
        "ask": case([heard("full", ask="What is heard?")], SLIM + ["audio.blocks.*.attn.pattern"], logits=True),
        "two": case([heard("odd", "blip", ask="Which is longer?")]),
        "unicode": case([heard("blip", prompt=UNICODE)], grads=[]),
        "batch": case([heard("odd", prompt=f"{ONE}Yes or no?"), heard("blip", "full", prompt=f"Say: is {ONE} like {ONE}?")]),
        "text": case([heard(prompt="There are three triangles")], ["text.blocks.*.resid_post", "text.final_norm"], grads=["text.input"], logits=True),
    },
    "qwen2-audio-old": {
        "full": case([heard("odd", prompt=f"Hi{ONE}?")], None, grads=MANY, logits=True),
        "ask": case([heard("long", "chirp", ask="  Which is higher? ")]),
        "batch": case([heard("blip", ask="What?"), heard("odd", ask="How many tones are there?")], grads=[]),
    },
}

"""What is traced of the tiny Whispers."""

from cases import case as any_case
from cases import heard

WHAT = "A tiny random Whisper and what transformers computes with it, site by site."

SLIM = ["audio.blocks.*.resid_post", "audio.final_norm", "text.blocks.*.resid_post", "text.blocks.*.cross.pattern", "text.blocks.*.cross_out", "text.final_norm"]
MANY = [
    "audio.mel",
    "audio.embed",
    "audio.blocks.0.attn.pattern",
    "audio.blocks.1.resid_mid",
    "audio.blocks.1.mlp.post",
    "audio.final_norm",
    "text.embed",
    "text.blocks.0.cross.k",
    "text.blocks.0.cross.pattern",
    "text.blocks.0.cross.result",
    "text.blocks.1.attn.q",
    "text.blocks.1.attn.z",
    "text.blocks.1.resid_cross",
    "text.blocks.1.mlp.pre",
]
TEXT = "<|startoftranscript|><|en|><|translate|><|notimestamps|>"
UNICODE = "<|startofprev|> ¿Où est 円? 😀 «Größe»<|startoftranscript|><|ja|><|transcribe|><|0.00|>"


def case(rows, read=SLIM, grads=("audio.mel",), **more):
    return any_case(rows, read, grads=grads, **more)


CASES = {
    "whisper-a": {
        "full": case([heard("chirp")], None, grads=MANY, logits=True),
        "prompt": case([heard("full", prompt=f"{TEXT} The square is")], logits=True),
        "unicode": case([heard("blip", prompt=UNICODE)], grads=[]),
        "batch": case([heard("odd", prompt=f"{TEXT} Two"), heard("blip", prompt=TEXT), heard("chirp", prompt=f"{TEXT} There are three triangles")]),
    },
    "whisper-en": {
        "full": case([heard("long")], None, grads=MANY, logits=True),
        "prompt": case([heard("odd", prompt="<|startoftranscript|><|0.00|> No, there")]),
        "batch": case([heard("blip"), heard("full")], grads=[]),
    },
    "whisper-old": {
        "prompt": case([heard("odd", prompt="<|startoftranscript|><|ja|><|transcribe|><|notimestamps|>")], logits=True),
    },
}

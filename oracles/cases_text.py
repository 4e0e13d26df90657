"""What is traced of the tiny language models."""

from cases import case as any_case

WHAT = "A tiny random language model and what transformers computes with it, site by site."

SLIM = ["text.blocks.*.resid_post", "text.final_norm"]
PATTERNS = SLIM + ["text.blocks.0,1.attn.pattern"]
MANY = [
    "text.embed",
    "text.blocks.0.attn.pattern",
    "text.blocks.0.attn_out",
    "text.blocks.0.mlp.pre",
    "text.blocks.1.attn.k",
    "text.blocks.1.attn.v",
    "text.blocks.1.attn.z",
    "text.blocks.1.resid_mid",
]
TURNED = MANY + ["text.blocks.0.mlp.gate", "text.blocks.1.attn.q_rot"]


def case(prompts, read=PATTERNS, grads=("text.embed",), count=12, how="prompt", **more):
    return any_case([{how: prompt} for prompt in prompts], read, count, grads, **more)


UNICODE = "¿Dó 円? 😀 «ß»  don't 20"
LONG = "Is there a star? 12."


def usual(many=TURNED, ask=True):
    cases = {
        "full": case(["Go on"], None, many, logits=True),
        "unicode": case([UNICODE], SLIM, []),
        "batch": case(["Yes?", LONG]),
    }
    return cases | ({"ask": case(["Is it 円?"], SLIM, [], how="ask")} if ask else {})


CASES = {
    "gpt2-a": usual(MANY, ask=False),
    "gpt2-old": {"batch": case(["Yes?", LONG], logits=True), "unicode": case([UNICODE], SLIM), "full": case(["Go"], None, logits=True)},
    "llama-a": usual(),
    "llama-b": usual(),
    "llama-old": {
        "batch": case(["  two  spaces", LONG]),
        "unicode": case([UNICODE], SLIM),
        "begun": case(["<s>  Go</s> on"], SLIM, []),
        "ask": case([" Is it?"], SLIM, how="ask"),
    },
    "mistral-a": usual(),
    "mistral-b": {"batch": case(["Yes?", LONG]), "unicode": case([UNICODE], SLIM), "ask": case(["Is it?"], SLIM, how="ask")},
    "qwen2-a": usual(),
    "qwen3-a": usual(),
    "gemma2-a": usual(),
    "gemma2-b": {"batch": case(["Yes?", LONG]), "ask": case(["Is it blue?"], SLIM, how="ask")},
}

"""What is traced of the tiny language models."""

from cases import case as any_case

WHAT = "A tiny random language model and what transformers computes with it, site by site."

SLIM = ["text.blocks.*.resid_post", "text.final_norm"]
PATTERNS = SLIM + ["text.blocks.*.attn.pattern"]
MANY = [
    "text.embed",
    "text.input",
    "text.blocks.0.attn.z",
    "text.blocks.0.attn.pattern",
    "text.blocks.0.attn_out",
    "text.blocks.0.mlp.pre",
    "text.blocks.0.mlp.post",
    "text.blocks.1.attn.q",
    "text.blocks.1.attn.k",
    "text.blocks.1.attn.v",
    "text.blocks.1.attn.result",
    "text.blocks.1.resid_mid",
    "text.blocks.1.mlp_out",
    "text.final_norm",
]
TURNED = MANY + ["text.blocks.0.mlp.gate", "text.blocks.0.attn.k_rot"]


def case(prompts, read=PATTERNS, grads=("text.input",), count=12, how="prompt", **more):
    return any_case([{how: prompt} for prompt in prompts], read, count, grads, **more)


UNICODE = "¿Dónde está 円? 😀 — «Größe»  don't 2026"
LONG = "Is there a green star above the yellow ring? Yes, there is one; no, there are 12."


def usual(many=TURNED, ask=True):
    cases = {
        "full": case(["There are three, and"], None, many, logits=True),
        "unicode": case([UNICODE], SLIM, []),
        "batch": case(["Yes?", LONG]),
    }
    return cases | ({"ask": case(["What colour is the square?"], how="ask")} if ask else {})


CASES = {
    "gpt2-a": usual(MANY, ask=False),
    "gpt2-old": {"batch": case(["Yes?", LONG]), "unicode": case([UNICODE], logits=True)},
    "llama-a": usual(),
    "llama-b": usual(),
    "mistral-a": usual(),
    "mistral-b": {"batch": case(["Yes?", LONG]), "unicode": case([UNICODE], logits=True)},
    "qwen2-a": usual(),
    "qwen3-a": usual(),
    "gemma2-a": usual(),
    "gemma2-b": {"batch": case(["Yes?", LONG]), "ask": case(["Is it blue?"], how="ask", logits=True)},
}

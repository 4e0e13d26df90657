"""How the cases of `cases_*.py` are written: prompts, pictures, and what a trace keeps of them.

Each such file has `CASES`, from a fixture's name to its cases, `WHAT`, the first sentence of its `why.json`, and, where there are fixtures of another kind,
`OTHERS`, from a name to a function that writes them.
"""


def case(rows, read, count=12, grads=("vision.pixels",), logits=False):
    """`read=None` keeps every site. `text.final_norm` stands in for `logits` where they would be most of the file."""
    return {"rows": rows, "read": read, "count": count, "grads": grads, "logits": logits}


def ask(question, *images):
    return {"ask": question, "images": images}


def raw(prompt, *images):
    return {"prompt": prompt, "images": images}


def heard(*names, **words):
    """Recordings, by their place beside the pictures; with `prompt` or `ask`, or without words."""
    return {"recordings": [f"../recordings/{name}.wav" for name in names], **words}


UNICODE = "¿Dónde está 円? 😀 — <image> «Größe» "

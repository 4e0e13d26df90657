"""Layers left out of `llava-a`, `gpt2-a` and the tower of `clip-a`, in transformers with hooks: `fixtures/methods/skipping.safetensors`.

A layer that a hook lets give what it was given is left out. `change` is what becomes of the logit of the likeliest token (of `clip-a`, of picture and caption)
without each layer, `pairs` without each two that follow one another; `influence` one less the cosine of what enters and leaves a layer, position by position.
Those of `gpt2-a` and `clip-a` have its name in front.
"""

import common
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER, Question


def skipped(layers, score, sites, part):
    """`score()` gives the objective, `sites` what a whole pass holds."""

    def without(some):
        hooks = [layers[i].register_forward_hook(lambda layer, args, kwargs, out: args[0] if args else kwargs["hidden_states"], with_kwargs=True) for i in some]
        with torch.no_grad():
            found = score().double()
        for hook in hooks:
            hook.remove()
        return found

    whole = without([])
    change = torch.stack([without([i]) - whole for i in range(len(layers))])
    pairs = torch.stack([without([i, i + 1]) - whole for i in range(len(layers) - 1)])
    stream = lambda point: torch.stack([sites[f"{part}.blocks.{i}.{point}"][0].double() for i in range(len(layers))])
    influence = 1 - torch.nn.functional.cosine_similarity(stream("resid_pre"), stream("resid_post"), dim=-1)
    return {"change": change, "pairs": pairs, "influence": influence}


PROMPT, CAPTION = "Is it red", "a photo of a red circle"


def others():
    """Of words alone, and of a tower."""
    out = {}
    gpt = trace.open_checkpoint(common.FIXTURES / "gpt2-a" / "model")
    batch = trace.prepare(gpt, [{"prompt": PROMPT, "images": []}])
    clip = trace.open_checkpoint(common.FIXTURES / "clip-a" / "model")
    row = {"images": [Image.open(pictures.FOLDER / "square.png").convert("RGB")], "texts": [CAPTION]}
    seen = trace.prepare(clip, [row])
    with torch.no_grad():
        held, compared = trace.run(gpt, batch)[0], trace.run(clip, seen)[0]
        target = int(gpt.model(**batch.kwargs()).logits[0, -1].argmax())
    score = lambda: gpt.model(**batch.kwargs(), use_cache=False).logits[0, -1, target]
    fits = lambda: clip.model(**seen.kwargs()).logits_per_image[0, 0]
    for name, found in (
        ("gpt2-a", skipped(gpt.model.transformer.h, score, held, "text")),
        ("clip-a", skipped(clip.model.vision_model.encoder.layers, fits, compared, "vision")),
    ):
        out |= {f"{name}/{what}": value for what, value in found.items()}
    return out


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    with torch.no_grad():
        sites, whole = trace.run(checkpoint, q.batch)[0], q.of_pixels(q.pixels)[0, q.target].double()
    assert torch.equal(whole, q.logits[q.target].double())
    out = skipped(q.model.model.language_model.layers, lambda: q.of_pixels(q.pixels)[0, q.target], sites, "text") | others()
    about = q.about | {"objective": float(whole), "gpt2-a": PROMPT, "clip-a": CAPTION}
    common.save(FOLDER / "skipping.safetensors", {name: value.float() for name, value in out.items()}, about)
    print({name: value.shape for name, value in out.items()}, out["change"], out["gpt2-a/change"], out["clip-a/change"])


if __name__ == "__main__":
    main()

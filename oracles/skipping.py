"""Layers left out of `llava-a`, in transformers with hooks: `fixtures/methods/skipping.safetensors`.

A decoder layer that a hook lets give what it was given is left out. `change` is what becomes of the logit of the likeliest token without each layer, `pairs`
without each two that follow one another; `influence` one less the cosine of what enters and leaves a layer, position by position.
"""

import common
import torch

import trace
from methods import FOLDER, Question


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    layers = q.model.model.language_model.layers

    def without(some):
        hooks = [layers[i].register_forward_hook(lambda layer, args, kwargs, out: args[0] if args else kwargs["hidden_states"], with_kwargs=True) for i in some]
        with torch.no_grad():
            logit = q.of_pixels(q.pixels)[0, q.target].double()
        for hook in hooks:
            hook.remove()
        return logit

    whole = without([])
    assert torch.equal(whole, q.logits[q.target].double())
    change = torch.stack([without([i]) - whole for i in range(len(layers))])
    pairs = torch.stack([without([i, i + 1]) - whole for i in range(len(layers) - 1)])
    with torch.no_grad():
        sites = trace.run(checkpoint, q.batch)[0]
    stream = lambda point: torch.stack([sites[f"text.blocks.{i}.{point}"][0].double() for i in range(len(layers))])
    influence = 1 - torch.nn.functional.cosine_similarity(stream("resid_pre"), stream("resid_post"), dim=-1)
    out = {"change": change, "pairs": pairs, "influence": influence}
    common.save(FOLDER / "skipping.safetensors", {name: value.float() for name, value in out.items()}, q.about | {"objective": float(whole)})
    print({name: value.shape for name, value in out.items()}, change, influence.mean(-1))


if __name__ == "__main__":
    main()

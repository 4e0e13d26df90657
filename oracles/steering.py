"""Directions that an answer is steered by: `fixtures/methods/steering-*.safetensors`.

Rows are what a decoder layer of `llava-a` and `llama-b` writes at the last position of some prompts, in transformers. The direction is the mean of one class less that of the other, in float64, of the rows that are
not held out. Then a prompt with some tokens behind it, with a hook that changes what the layer writes from the prompt's last position on: added, and turned (the form of VTI). `scores` are the logits at each of these
positions, for each form and strength; `separation` is scikit-learn's AUROC of the held-out rows along the direction.
"""

import common
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import pictures
import trace
from erasure import SEED, held_out
from methods import FOLDER

LAYER, STRENGTHS, TOKENS = 1, [-1.5, 0.75], [5, 9]
PROMPTS = {
    "llava-a": (["<image>Red?", "<image>Is it big", "<image>So?", "<image>It is red", "<image>Go", "<image>left of", "<image>as they say", "<image>a b c"], "square"),
    "llama-b": (["Red?", "Is it big", "So?", "It is red", "Go", "left of", "as they say", "a b c"], None),
}
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])


def layers(model):
    inner = getattr(model, "model", model)
    return getattr(inner, "language_model", inner).layers


def changed(x, direction, form, by):
    if form == "add":
        return x + by * direction
    size = x.norm(dim=-1, keepdim=True)
    mixed = x / size + by * direction / direction.norm()
    return size * mixed / mixed.norm(dim=-1, keepdim=True)


def main():
    for name, (prompts, picture) in PROMPTS.items():
        checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        model, layer = checkpoint.model, layers(checkpoint.model)[LAYER]
        shown = {} if picture is None else {"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}
        kept = {}

        def run(prompt, tokens=(), change=None):
            batch = trace.prepare(checkpoint, [{"prompt": prompt} | shown])
            last = batch.input_ids.shape[1] - 1
            ids = torch.cat([batch.input_ids, torch.tensor([list(tokens)], dtype=batch.input_ids.dtype)], 1)
            more = {} if picture is None else {"pixel_values": batch.pixel_values}

            def hook(module, given, out):
                x = out[0] if isinstance(out, tuple) else out
                kept["x"] = x[0, last].double()
                if change is None:
                    return None
                x = x.clone()
                x[0, last:] = change(x[0, last:].double()).float()
                return (x, *out[1:]) if isinstance(out, tuple) else x

            handle = layer.register_forward_hook(hook)
            try:
                with torch.no_grad():
                    return model(input_ids=ids, use_cache=False, **more).logits[0, last:]
            finally:
                handle.remove()

        rows = []
        for prompt in prompts:
            run(prompt)
            rows.append(kept["x"])
        rows, out = torch.stack(rows), held_out(list(range(len(prompts))))
        assert set(LABELS[out]) == {0, 1} == set(LABELS[~out]), LABELS[out]
        mean = lambda label: rows[torch.tensor((LABELS == label) & ~out)].mean(0)
        direction = mean(0) - mean(1)
        along = (rows @ direction).numpy()[out]
        found = {"direction": direction, "separation": torch.tensor(roc_auc_score(LABELS[out] == 0, along), dtype=torch.float64)}
        found["plain"] = run(prompts[0], TOKENS)
        for form in ["add", "turn"]:
            scores = [run(prompts[0], TOKENS, lambda x, by=by: changed(x, direction, form, by)) for by in STRENGTHS]
            assert (scores[0] - found["plain"]).abs().max() > 1e-2
            found[form] = torch.stack(scores)
        about = {"prompts": prompts, "picture": picture, "layer": LAYER, "strengths": STRENGTHS, "tokens": TOKENS, "seed": SEED, "checkpoint": f"fixtures/{name}/model"}
        path = common.save(FOLDER / f"steering-{name}.safetensors", found, about)
        print(f"{name}: {path.stat().st_size / 1024:.1f} KiB, held out {np.nonzero(out)[0].tolist()}, {found['separation']}, |d| {direction.norm():.3f}, rows {rows.norm(dim=1).mean():.3f}")


if __name__ == "__main__":
    main()

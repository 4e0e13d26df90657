"""Region swap by hooks in transformers: `fixtures/methods/region-swap.safetensors`.

What enters a block of `llava-a`'s decoder (at the picture's positions) or of `vit-a`'s tower (at its patches) for one picture is replaced, cell by cell, by what enters it for another: always
the swap that makes the other picture's answer likeliest. Orders drawn by chance follow from a seed as in mmlens (SplitMix64, smallest first).
"""

import common
import numpy as np
import torch

import trace
from methods import FOLDER, Question
from maps import Classes
from tracing import at

SEED, DRAWS, STEPS = 3, 3, 5


class Swapped:
    """A model whose block is given what it was given for one picture, with cells of another."""

    def __init__(self, forward, block, mine, theirs, cells):
        self.forward, self.block, self.inputs, self.cells = forward, block, mine, cells
        self.mine, own = self.entering(mine)
        self.theirs, other = self.entering(theirs)
        self.own, self.target = int(own.argmax()), int(other.argmax())
        assert self.own != self.target, "both answer alike"
        # Of an objective, the logit of this answer: which way it is to move, and how far.
        self.objective, self.there = False, float(other[self.own])
        self.way = 1 if other[self.own] > own[self.own] else -1

    def hooked(self, inputs, change):
        def hook(module, args, kwargs):
            if args:
                return (change(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

        handle = self.block.register_forward_pre_hook(hook, with_kwargs=True)
        with torch.no_grad():
            logits = self.forward(inputs)[0].double()
        handle.remove()
        return logits

    def entering(self, inputs):
        kept = []
        logits = self.hooked(inputs, lambda x: kept.append(x.clone()) or x)
        return kept[0], logits

    def __call__(self, swaps):
        value = self.mine.clone()
        for i, j in swaps:
            value[:, self.cells[i]] = self.theirs[:, self.cells[j]]
        logits = self.hooked(self.inputs, lambda _: value)
        if self.objective:
            return self.way * float(logits[self.own]), -1
        return float(logits.log_softmax(-1)[self.target]), int((logits > logits[self.target]).sum())


def drawn(count, seed):
    return [int(i) for i in np.argsort(at(np.uint64(seed), np.arange(count)), kind="stable")]


def searched(model, anywhere, steps=STEPS):
    count = len(model.cells)
    start = model([])
    taken, path, alone = [], [start], None
    for _ in range(min(steps, count)):
        left = [i for i in range(count) if i not in [cell for cell, _ in taken]]
        tried = {(i, j): model(taken + [(i, j)]) for i in left for j in (range(count) if anywhere else [i])}
        if alone is None:
            alone = [max(said - start[0] for (cell, _), (said, _) in tried.items() if cell == i) for i in range(count)]
        ranked = sorted((said for said, _ in tried.values()), reverse=True)
        if len(ranked) > 1 and ranked[0] - ranked[1] < 1e-4:
            print("two swaps are as good, and rounding would decide: the path ends behind", len(taken))
            break
        best = max(tried, key=lambda swap: tried[swap][0])
        taken.append(best)
        path.append(tried[best])
    orders = []
    for draw in range(DRAWS):
        seed = at(np.uint64(SEED), draw)
        order = drawn(count, seed)
        others = drawn(count, at(seed, count)) if anywhere else order
        orders.append([model(list(zip(order, others))[:n]) for n in range(1, len(taken) + 1)])
    mean = [start[0]] + [float(np.mean([order[n][0] for order in orders])) for n in range(len(taken))]
    turned = [float(start[1] == 0)] + [float(np.mean([order[n][1] == 0 for order in orders])) for n in range(len(taken))]
    return {
        "alone": alone,
        "path": [[said for said, _ in path], mean],
        "flipped": [[float(rank == 0) for _, rank in path], turned],
        "cell": [model.cells[i] for i, _ in taken],
        "taken from": [model.cells[j] for _, j in taken],
    }


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    one, other = (Question(checkpoint, "<image>Red?", picture) for picture in ("square", "tall"))
    seen = [i for i in range(one.batch.input_ids.shape[1]) if one.batch.input_ids[0, i] == one.model.config.image_token_id]
    layers = one.model.model.language_model.layers
    vit = Classes("vit-a", "square")
    tower = (vit.model.vit.layers if hasattr(vit.model.vit, "layers") else vit.model.vit.encoder.layer)[1]
    patches = list(range(1, 1 + (vit.model.config.image_size // vit.model.config.patch_size) ** 2))
    out, about = {}, {"seed": SEED, "draws": DRAWS, "steps": STEPS}
    cases = {
        "llava-a/0": (one.of_pixels, layers[0], one.pixels, other.pixels, seen),
        "llava-a/1": (one.of_pixels, layers[1], one.pixels, other.pixels, seen),
        "vit-a/1": (vit.of_pixels, tower, vit.pixels, vit.batch("tall"), patches),
    }
    for name, case in cases.items():
        model = Swapped(*case)
        for what, anywhere in (("same", False), ("any", True)):
            found = searched(model, anywhere)
            out |= {f"{name}/{what}/{key}": torch.tensor(value, dtype=torch.float32) for key, value in found.items()}
            print(name, what, found["cell"], found["taken from"], found["path"][0], found["flipped"])
        model.objective = True
        found = searched(model, False)
        out |= {f"{name}/objective/{key}": torch.tensor(found[key], dtype=torch.float32) for key in ("cell", "taken from")}
        out |= {f"{name}/objective/{key}": model.way * torch.tensor(found[key], dtype=torch.float32) for key in ("alone", "path")}
        print(name, "objective", found["cell"], model.way, found["path"])
        about[name] = [model.own, model.target]
    path = common.save(FOLDER / "region-swap.safetensors", out, about)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

"""Causal tracing by hooks in transformers, as Meng et al. 2022 do it: `fixtures/methods/tracing-{llava-a,gpt2-a}.safetensors`.

What enters the first block is given noise at some positions, `DRAWS` times; then what a block, its MLP or its attention gives is put back to its clean
value at one position, of MLP and attention over `WINDOW` layers. The noise follows from a seed as in mmlens: SplitMix64 by item, Box and Muller.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace

FOLDER = FIXTURES / "methods"
DRAWS, SIGMAS, WINDOW, SEED = 4, 3.0, 2, 7
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
KINDS = ("resid_post", "mlp_out", "attn_out")


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def at(seed, item):
    with np.errstate(over="ignore"):
        return mix(seed ^ mix(np.asarray(item, np.uint64) + GOLDEN))


def unit(seed):
    with np.errstate(over="ignore"):
        return (mix(seed) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)


def normal(seed):
    radius, angle = 1.0 - unit(at(seed, 0)).astype(np.float64), unit(at(seed, 1)).astype(np.float64)
    return np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)


def noise(shape, positions, sigma, draw):
    """Every number of the value has a draw of its own; positions that are not corrupted have none of it."""
    drawn = normal(at(at(np.uint64(SEED), draw), np.arange(np.prod(shape)))).reshape(shape)
    kept = np.zeros(shape)
    kept[:, positions] = SIGMAS * sigma * drawn[:, positions]
    return torch.tensor(kept, dtype=torch.float32)


class Model:
    """A decoder as a function of what enters its first block, with the outputs of its blocks, MLPs and attention at hand."""

    def __init__(self, name, prompt, picture=None):
        self.checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
        row = {"prompt": prompt} | ({"images": [Image.open(pictures.FOLDER / f"{picture}.png")]} if picture else {})
        batch = trace.prepare(self.checkpoint, [row])
        model, self.ids = self.checkpoint.model, batch.input_ids
        if picture:
            self.decoder, self.head, self.hole = model.model.language_model, model.lm_head, model.config.image_token_id
            self.layers = self.decoder.layers
            self.parts = {"mlp_out": [b.mlp for b in self.layers], "attn_out": [b.self_attn for b in self.layers], "resid_post": list(self.layers)}
        else:
            self.decoder, self.head, self.hole = model.transformer, model.lm_head, -1
            self.layers = self.decoder.h
            self.parts = {"mlp_out": [b.mlp for b in self.layers], "attn_out": [b.attn for b in self.layers], "resid_post": list(self.layers)}
        with torch.no_grad():
            x = model.get_input_embeddings()(self.ids)
            if picture:
                states = torch.cat(list(model.model.get_image_features(batch.pixel_values).pooler_output))
                x = x.masked_scatter((self.ids == self.hole).unsqueeze(-1), states.to(x))
            # What the decoder adds itself is no part of what it is given, but of what enters its first block.
            self.given, self.entering = x, x if picture else x + self.decoder.wpe(torch.arange(self.ids.shape[1]))[None]
            whole = model(**batch.kwargs(), use_cache=False).logits[0, -1] if picture else model(self.ids).logits[0, -1]
            self.clean, self.logits = self.run(self.given)
        assert torch.allclose(self.logits, whole, atol=1e-5), "the decoder apart is another"

    def run(self, x, put=()):
        """`put`: (kind, layer, position) that have their clean value."""
        kept, hooks = {}, []
        for kind, modules in self.parts.items():
            for layer, module in enumerate(modules):

                def hook(_, __, out, kind=kind, layer=layer):
                    value = out[0] if isinstance(out, tuple) else out
                    own = [p for k, l, p in put if (k, l) == (kind, layer)]
                    if own:
                        value = value.clone()
                        value[:, own] = self.clean[kind, layer][:, own]
                    kept[kind, layer] = value
                    return (value, *out[1:]) if isinstance(out, tuple) else value

                hooks.append(module.register_forward_hook(hook))
        with torch.no_grad():
            logits = self.head(self.decoder(inputs_embeds=x, use_cache=False).last_hidden_state[0, -1])
        for hook in hooks:
            hook.remove()
        return kept, logits


def traced(model, positions, window=WINDOW):
    target, length, layers = int(model.logits.argmax()), model.ids.shape[1], len(model.layers)
    sigma = float(model.entering[0, positions].double().std())
    share = lambda logits: float(logits.double().softmax(-1)[target])
    noisy = [model.given + noise(tuple(model.given.shape), positions, sigma, draw) for draw in range(DRAWS)]
    low = [model.run(x)[1] for x in noisy]
    out = {
        "sigma": [sigma],
        "clean": [share(model.logits)],
        "clean.objective": [float(model.logits[target])],
        "corrupted": [share(logits) for logits in low],
        "corrupted.objective": [float(logits[target]) for logits in low],
    }
    for kind in KINDS:
        effects = np.zeros((2, DRAWS, layers, length))
        for layer in range(layers):
            wide = 1 if kind == "resid_post" else window
            around = range(max(0, layer - wide // 2), min(layers, layer - (-wide // 2)))
            for position in range(length):
                for draw, x in enumerate(noisy):
                    logits = model.run(x, [(kind, l, position) for l in around])[1]
                    effects[:, draw, layer, position] = share(logits) - out["corrupted"][draw], float(logits[target]) - out["corrupted.objective"][draw]
        out |= {
            kind: effects[0].mean(0),
            f"{kind}.error": effects[0].std(0, ddof=1) / np.sqrt(DRAWS),
            f"{kind}.objective": effects[1].mean(0),
        }
    return {name: torch.tensor(np.asarray(x), dtype=torch.float32) for name, x in out.items()}, target


def paired(model, other):
    """The corrupted run is the same question about another picture: a semantic pair in the place of noise."""
    target, length, layers = int(model.logits.argmax()), model.ids.shape[1], len(model.layers)
    low = float(other.logits[target])
    out = {"clean": torch.tensor([float(model.logits[target])]), "corrupted": torch.tensor([low])}
    for kind in ("mlp_out", "attn_out"):
        effects = torch.zeros(layers, length)
        for layer in range(layers):
            around = range(max(0, layer - WINDOW // 2), min(layers, layer - (-WINDOW // 2)))
            for position in range(length):
                effects[layer, position] = float(model.run(other.given, [(kind, l, position) for l in around])[1][target]) - low
        out[kind] = effects
    return out


def main():
    # By hand: seed 7 at item 3 is what Rust makes of it too (crates/engine/src/draws.rs).
    print("normal(Seed(7).at(3)) =", float(normal(at(np.uint64(7), 3))))
    of = {"llava-a": Model("llava-a", "<image>Red?", "square"), "gpt2-a": Model("gpt2-a", "It is red.")}
    for name, model in of.items():
        length = model.ids.shape[1]
        seen = [i for i in range(length) if model.ids[0, i] == model.hole]
        words = [i for i in range(seen[0] if seen else 0, length - 1) if i not in seen]
        cases = {"words": words, "pictures": seen} if seen else {"words": words[1:3]}
        out, about = {}, {"draws": DRAWS, "sigmas": SIGMAS, "window": WINDOW, "seed": SEED, "axes": "layer pos"}
        for case, positions in cases.items():
            found, target = traced(model, positions)
            out |= {f"{case}.{key}": value for key, value in found.items()}
            about |= {f"{case} at": positions, "target": target}
            print(name, case, {k: [round(float(v), 4) for v in found[k].flatten()[:4]] for k in ("sigma", "clean", "corrupted")})
        if seen:
            out |= {f"pair.{key}": value for key, value in paired(model, Model(name, "<image>Red?", "tall")).items()}
        path = common.save(FOLDER / f"tracing-{name}.safetensors", out, about)
        print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

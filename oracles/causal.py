"""Effects of modalities and causal mediation in transformers: `fixtures/methods/causal-*.safetensors`.

Of `llava-a` and `smolvlm-a` the log-odds of tokens and of whole answers for all prompts about all pictures, and about pictures of nothing but their mean colour; which of
them stand in for one another, the tests pick. Of `llava-a` and `gpt2-a` what heads, neurons and layers carry between two samples: hooks put in what they hold in the other run,
one by one, all together, those of the largest effect, and random sets of as many, which are drawn as mmlens draws them (`tracing.py`).
"""

import common
import numpy as np
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER
from modality import CASES, PICTURES, PROMPTS, answer
from tracing import at

ANSWERS = ["big", "left", "c"]
RANDOM, JOINT = 6, 3


def image(name, flat=False):
    own = Image.open(pictures.FOLDER / f"{name}.png").convert("RGB")
    if not flat:
        return own
    mean = np.floor(np.asarray(own, np.float64).reshape(-1, 3).mean(0) + 0.5)
    return Image.new("RGB", own.size, tuple(int(x) for x in mean))


def logits(checkpoint, prompt, picture, tokens=()):
    """Logits in double precision behind a prompt and tokens of an answer, and where the answer begins."""
    batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [picture]}])
    given = batch.passing() if batch.more else {"input_ids": batch.input_ids, "pixel_values": batch.pixel_values, "use_cache": False}
    start = batch.input_ids.shape[1]
    given["input_ids"] = torch.cat([batch.input_ids, torch.tensor([list(tokens)], dtype=torch.long)], 1)
    given.pop("attention_mask", None)
    given.pop("position_ids", None)
    with torch.no_grad():
        return checkpoint.model(**given).logits[0].double(), start


def said(checkpoint, prompt, picture, tokens):
    """The log-probability of an answer."""
    found, start = logits(checkpoint, prompt, picture, tokens)
    logs = found.log_softmax(-1)
    return sum(logs[start + i - 1, token] for i, token in enumerate(tokens))


def odds(log):
    return log - torch.log(-torch.expm1(log))


def effects(name):
    checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
    tokenizer = checkpoint.processor.tokenizer
    last, answers = {}, torch.zeros(len(ANSWERS), len(PROMPTS), 2 * len(PICTURES), dtype=torch.float64)
    for p, prompt in enumerate(PROMPTS):
        for i in range(2 * len(PICTURES)):
            picture = image(PICTURES[i % len(PICTURES)], i >= len(PICTURES))
            last[p, i] = logits(checkpoint, prompt, picture)[0][-1]
            for a, text in enumerate(ANSWERS):
                answers[a, p, i] = odds(said(checkpoint, prompt, picture, answer(tokenizer, prompt, text)))
    own = lambda i: last[i % len(PROMPTS), i % len(PICTURES)]
    tokens = [int(own(i).argmax()) if i % 2 == 0 else 40 + i for i in range(CASES)]
    # ln p - ln (1 - p), by what all others are raised to.
    rest = lambda x, token: torch.cat([x[:token], x[token + 1 :]]).logsumexp(0)
    grid = torch.stack(
        [torch.stack([torch.stack([last[p, i][t] - rest(last[p, i], t) for i in range(2 * len(PICTURES))]) for p in range(len(PROMPTS))]) for t in tokens]
    )
    about = {"prompts": PROMPTS, "pictures": PICTURES, "answers": ANSWERS, "axes": "token or answer, prompt, picture; pictures as they are, then in their mean colour"}
    about |= {"checkpoint": f"fixtures/{name}/model"}
    out = {"odds": grid.float(), "answers": answers.float(), "tokens": torch.tensor(tokens)}
    path = common.save(FOLDER / f"causal-effects-{name}.safetensors", out, about)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB, odds from {grid.min():.3f} to {grid.max():.3f}, answers from {answers.min():.3f} to {answers.max():.3f}")


class Mediated:
    """Two samples of a model, and what its units hold in both."""

    def __init__(self, name, clean, corrupted):
        self.checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        self.given = []
        for prompt, picture in (clean, corrupted):
            row = {"prompt": prompt} | ({"images": [image(picture)]} if picture else {})
            batch = trace.prepare(self.checkpoint, [row])
            self.given.append({"input_ids": batch.input_ids} | ({"pixel_values": batch.pixel_values} if picture else {}))
        assert self.given[0]["input_ids"].shape == self.given[1]["input_ids"].shape
        model = self.checkpoint.model
        if hasattr(model, "transformer"):
            blocks = model.transformer.h
            self.heads, of = model.config.n_head, lambda b: (b.attn.c_proj, b.mlp.c_proj, b.attn)
        else:
            blocks = model.model.language_model.layers
            self.heads, of = model.config.text_config.num_attention_heads, lambda b: (b.self_attn.o_proj, b.mlp.down_proj, b.self_attn)
        modules = [of(block) for block in blocks]
        self.layers = len(blocks)
        self.modules = {"heads": [m[0] for m in modules], "neurons": [m[1] for m in modules], "attn_out": [m[2] for m in modules]}
        self.held = [self.read(given) for given in self.given]
        self.target = int(self.run(0, "heads", [], None).argmax())

    def read(self, given):
        kept, hooks = {}, []
        for kind, modules in self.modules.items():
            for layer, module in enumerate(modules):
                if kind == "attn_out":
                    keep = lambda _, __, out, at=(kind, layer): kept.__setitem__(at, out[0] if isinstance(out, tuple) else out)
                    hooks.append(module.register_forward_hook(keep))
                else:
                    keep = lambda _, args, at=(kind, layer): kept.__setitem__(at, args[0])
                    hooks.append(module.register_forward_pre_hook(keep))
        with torch.no_grad():
            self.checkpoint.model(**given, use_cache=False)
        for hook in hooks:
            hook.remove()
        return kept

    def run(self, sample, kind, units, positions):
        """Logits at the last position of a sample, where units, (layer, unit), hold what they hold in the other one."""
        other, hooks = self.held[1 - sample], []
        at_positions = slice(None) if positions is None else positions

        def put(value, layer):
            value, own = value.clone(), other[kind, layer]
            wide = value.shape[-1] // self.heads
            for l, unit in units:
                if l == layer:
                    inner = {"heads": slice(unit * wide, (unit + 1) * wide), "neurons": slice(unit, unit + 1), "attn_out": slice(None)}[kind]
                    value[:, at_positions, inner] = own[:, at_positions, inner]
            return value

        for layer in {l for l, _ in units}:
            module = self.modules[kind][layer]
            if kind == "attn_out":
                after = lambda _, __, out, layer=layer: (put(out[0], layer), *out[1:]) if isinstance(out, tuple) else put(out, layer)
                hooks.append(module.register_forward_hook(after))
            else:
                hooks.append(module.register_forward_pre_hook(lambda _, args, layer=layer: (put(args[0], layer), *args[1:])))
        with torch.no_grad():
            found = self.checkpoint.model(**self.given[sample], use_cache=False).logits[0, -1].double()
        for hook in hooks:
            hook.remove()
        return found

    def effects(self, kind, layers, width, positions):
        value = lambda sample, units: float(self.run(sample, kind, units, positions)[self.target])
        clean, corrupted = value(0, []), value(1, [])
        units = [(layer, unit) for layer in layers for unit in range(width)]
        both = lambda some: [value(0, some) - clean, value(1, some) - clean]
        each = torch.tensor([both([unit]) for unit in units])
        out = {"clean": [clean], "corrupted": [corrupted], "total": [corrupted - clean], "nie": each[:, 0], "nde": each[:, 1], "all": both(units)}
        n = len(units)
        about, count = {}, min(JOINT, n // 4)
        if count:
            order = each[:, 0].abs().argsort(descending=True)
            gaps = each[order, 0].abs()
            # The last that is chosen is told from the first that is not.
            assert gaps[count - 1] - gaps[count] > 1e-5, gaps
            chosen = [int(i) for i in order[:count]]
            sets = []
            for draw in range(RANDOM):
                seeds = at(at(np.uint64(0), draw), np.arange(n))
                drawn = [int(i) for i in np.argsort(seeds, kind="stable") if int(i) not in chosen]
                sets.append([units[i] for i in drawn[:count]])
            out |= {"chosen": both([units[i] for i in chosen]), "random": [both(some) for some in sets]}
            about = {"chosen": [f"{l}.{u}" for l, u in (units[i] for i in chosen)]}
        return {name: torch.as_tensor(x, dtype=torch.float32) for name, x in out.items()}, about


def mediation():
    of = {
        "llava-a": Mediated("llava-a", ("<image>Red?", "square"), ("<image>Red?", "tall")),
        "gpt2-a": Mediated("gpt2-a", ("It is blue.", None), ("It is left.", None)),
    }
    for name, model in of.items():
        neurons = model.held[0]["neurons", 1].shape[-1]
        last = [model.given[0]["input_ids"].shape[1] - 1]
        ways = {
            "heads": ("heads", range(model.layers), model.heads, None),
            "neurons": ("neurons", [1], neurons, last),
            "layers": ("attn_out", range(model.layers), 1, None),
        }
        out, about = {}, {"target": model.target, "random": RANDOM, "joint": JOINT, "checkpoint": f"fixtures/{name}/model"}
        for way, settings in ways.items():
            found, more = model.effects(*settings)
            out |= {f"{way}.{key}": value for key, value in found.items()}
            about |= {f"{way} {key}": value for key, value in more.items()}
            print(name, way, {key: [round(float(v), 4) for v in found[key].flatten()[:4]] for key in ("total", "nie", "nde", "all")})
        path = common.save(FOLDER / f"causal-mediation-{name}.safetensors", out, about)
        print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    effects("llava-a")
    effects("smolvlm-a")
    mediation()

"""What neurons write, in torch: `fixtures/methods/{value-vectors,multimodal-neurons,group-ablation}.safetensors`.

Value vectors of `llava-a`, `gpt2-a` and `gemma2-a` are read by the unembedding, with the gain of the last norm folded in and as they are; multimodal neurons of
`llava-a` and `smolvlm-a` are scored by weights and, with autograd, by gradients; groups of neurons of `llava-a` and `clip-a` are taken out by hooks on the output
projections of MLPs. Random groups are drawn from the rule that mmlens states.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace
from methods import FOLDER
from probes import at

COUNT, TOP = 6, 4
PROMPT = "Is it red"


def gain(norm, plus):
    weight = norm.weight.detach().double()
    return weight + 1 if plus else weight


def written(name, model):
    """The columns of the output projection of every layer, the unembedding, and the folding of the last norm."""
    if name.startswith("gpt2"):
        body = model.transformer
        columns = [block.mlp.c_proj.weight.detach().double() for block in body.h]
        weight = gain(body.ln_f, False)
        fold = lambda w: (w - w.mean(-1, keepdim=True)) * weight
    else:
        body = model.model.language_model if name.startswith("llava") else model.model
        gemma = name.startswith("gemma")
        columns = [layer.mlp.down_proj.weight.detach().double().T for layer in body.layers]
        if gemma:
            columns = [own * gain(layer.post_feedforward_layernorm, True) for own, layer in zip(columns, body.layers)]
        weight = gain(body.norm, gemma)
        fold = lambda w: w * weight
    return torch.stack(columns), model.lm_head.weight.detach().double(), fold


def value_vectors(name):
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    row = {"prompt": "<image>Red?", "images": [Image.open(pictures.FOLDER / "square.png")]} if name == "llava-a" else {"prompt": PROMPT, "images": []}
    with torch.no_grad():
        sites = trace.run(checkpoint, trace.prepare(checkpoint, [row]))[0]
    vectors, unembedding, fold = written(name, checkpoint.model)
    layers, width, _ = vectors.shape
    held = torch.stack([sites[f"text.blocks.{i}.mlp.post"][0, -1].double() for i in range(layers)])
    length = vectors.norm(dim=-1)
    size = (held.abs() * length).flatten()
    chosen = torch.argsort(-size, stable=True)[:COUNT]
    out = {"chosen": chosen, "activation": held.flatten()[chosen], "length": length.flatten()[chosen]}
    own = vectors.reshape(layers * width, -1)[chosen]
    for what, rows in (("norm", fold(own)), ("none", own)):
        logits = rows @ unembedding.T
        high, low = logits.topk(TOP), (-logits).topk(TOP)
        out |= {f"{what}/words": high.indices, f"{what}/logits": high.values, f"{what}/lowest words": low.indices, f"{what}/lowest logits": -low.values}
        out[f"{what}/stands out"] = (logits.max(-1).values - logits.mean(-1)) / logits.std(-1, correction=0)
        gaps = (logits.sort(-1, descending=True).values.diff(dim=-1).abs()[:, :TOP]).min()
        print(name, what, "smallest gap", float(gaps), "of", float(logits.abs().max()), "size gap", float(size.sort().values.diff()[-COUNT:].min()))
    return {f"{name}/{key}": value.float() for key, value in out.items()}


def multimodal(name, top=5):
    """Of `llava-a`, or of `smolvlm-a`."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    model = checkpoint.model
    picture = Image.open(pictures.FOLDER / "square.png").convert("RGB")
    batch = trace.prepare(checkpoint, [{"prompt": "<image>Red?", "images": [picture]}])
    given = batch.kwargs() | {"use_cache": False}
    body = model.model.language_model if name == "llava-a" else model.model.text_model
    layers = body.layers
    with torch.no_grad():
        target = int(model(**given).logits[0, -1].argmax())
    held = {}

    def keep(i):
        def hook(module, args):
            held[i] = args[0].detach().requires_grad_(True)
            return (held[i],)

        return hook

    vectors = torch.stack([layer.mlp.down_proj.weight.detach().double().T for layer in layers])
    unembedding = model.lm_head.weight.detach().double()
    pictured = (batch.input_ids[0] == model.config.image_token_id).nonzero().flatten()
    # Gradients at one layer at a time: each neuron where the layers before it are as they are.
    by_gradients = []
    for i in range(len(layers)):
        hook = layers[i].mlp.down_proj.register_forward_pre_hook(keep(i))
        model(**given).logits[0, -1, target].backward()
        hook.remove()
        a, d = held[i].detach()[0, pictured].double(), held[i].grad[0, pictured].double()
        by_gradients.append((a * d).sum(0))
    last = torch.stack([held[i].detach()[0, -1].double() for i in range(len(layers))])
    along = vectors @ unembedding[target]
    out = {"target": torch.tensor([target])}
    seen = torch.stack([held[i].detach()[0, pictured].double() for i in range(len(layers))])
    for way, scores in (("weights", last * along), ("gradients", torch.stack(by_gradients))):
        order = torch.argsort(-scores.flatten(), stable=True)[:top]
        width = scores.shape[1]
        map = torch.stack([seen[unit // width, :, unit % width] for unit in order.tolist()]).mean(0)
        positive = scores[scores > 0].sum()
        out |= {f"{way}/score": scores, f"{way}/best": order, f"{way}/map": map, f"{way}/mask": (map > map.quantile(0.95)).float()}
        out[f"{way}/share"] = scores.flatten()[order].clamp(min=0).sum() / positive
        print(name, way, order, "gap", float(scores.flatten()[order].diff().abs().min()))
    front = "" if name == "llava-a" else f"{name}/"
    return {f"{front}{key}": value.float() for key, value in out.items()}


def multimodals(top=5):
    out = multimodal("llava-a", top) | multimodal("smolvlm-a", top)
    about = {"prompt": "<image>Red?", "picture": "square", "top": top}
    common.save(FOLDER / "multimodal-neurons.safetensors", out, about)


def drawn(layer, width, count, group, seed):
    order = sorted(range(width), key=lambda i: (at(at(seed, layer), i), i))
    return [i for i in order if (layer, i) not in group][:count]


def ablation(name, group, prompts, texts):
    """`group`: pairs of layer and neuron."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    model = checkpoint.model
    if texts:
        projections = [layer.mlp.fc2 for layer in model.vision_model.encoder.layers]
    else:
        projections = [layer.mlp.down_proj for layer in model.model.language_model.layers]
    batches = []
    for picture, prompt in prompts:
        image = Image.open(pictures.FOLDER / f"{picture}.png")
        row = {"images": [image], "texts": [prompt]} if texts else {"images": [image], "prompt": prompt}
        batches.append(trace.prepare(checkpoint, [row]))
    part = "vision" if texts else "text"
    with torch.no_grad():
        sites = [trace.run(checkpoint, batch)[0] for batch in batches]
    every = [torch.cat([own[f"{part}.blocks.{i}.mlp.post"][0].double() for own in sites]).mean(0) for i in range(len(projections))]
    last = lambda own: own["logits"][0, -1] if not texts else own["logits_per_image"][0, :1]
    tokens = [int(last(own).argmax()) for own in sites]

    def score(own, token):
        return float(last(own)[token].double())

    whole = [score(own, token) for own, token in zip(sites, tokens)]

    def without(group, mean):
        hooks = []
        for i, projection in enumerate(projections):
            own = [neuron for layer, neuron in group if layer == i]
            if not own:
                continue

            def hook(module, args, i=i, own=own):
                x = args[0].clone()
                x[..., own] = every[i][own].float() if mean else 0.0
                return (x,)

            hooks.append(projection.register_forward_pre_hook(hook))
        with torch.no_grad():
            found = [trace.run(checkpoint, batch, check=False)[0] for batch in batches]
        for hook in hooks:
            hook.remove()
        likeliest = np.mean([int(last(own).argmax()) == token for own, token in zip(found, tokens)])
        return [score(own, token) - before for own, token, before in zip(found, tokens, whole)], likeliest

    width = len(every[0])
    counts = {layer: sum(1 for own in group if own[0] == layer) for layer in sorted({layer for layer, _ in group})}
    out = {"objective": np.array(whole)}
    for what in ("zero", "mean"):
        own, likeliest = without(group, what == "mean")
        out |= {f"{what}/change": np.array(own), f"{what}/likeliest": np.array([likeliest])}
        random = [[(layer, i) for layer, count in counts.items() for i in drawn(layer, width, count, set(group), at(3, r))] for r in range(4)]
        out[f"{what}/random"] = np.array([np.mean(without(others, what == "mean")[0]) for others in random])
        print(name, what, own, out[f"{what}/random"], likeliest)
    return {f"{name}/{key}": torch.tensor(value, dtype=torch.float32) for key, value in out.items()}


def main():
    out = {}
    for name in ("llava-a", "gpt2-a", "gemma2-a"):
        out |= value_vectors(name)
    common.save(FOLDER / "value-vectors.safetensors", out, {"count": COUNT, "top": TOP, "prompt": PROMPT})
    multimodals()
    cases = [("square", "<image>Red?"), ("wide", "<image>Big?"), ("tall", "<image>Is it big")]
    group = [(0, 3), (0, 11), (2, 7), (1, 20), (2, 30)]
    out = ablation("llava-a", group, cases, False)
    group = [(1, 2), (2, 9), (2, 14)]
    out |= ablation("clip-a", group, [("square", "a"), ("wide", "a red"), ("tall", "big")], True)
    common.save(FOLDER / "group-ablation.safetensors", out, {"seed": 3, "random": 4})


if __name__ == "__main__":
    main()

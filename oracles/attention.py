"""Where heads look, by transformers' eager attention: `fixtures/methods/attention.safetensors`.

`llava/maps` is what every head of `llava-a`'s language model gives each position from the last one of a question, `[layer, head, key]`, and `clip/maps` what
every head of `clip-a`'s tower gives each position from the class token. From the first come the measures of heads: the share on the picture, how evenly it is
spread there, and their product; and from whole patterns, of both, layer by layer: shares from kinds of positions to kinds, entropy and distance, with what attention
that is spread evenly over the positions a query sees would have. All in float64, from weights in float32.
"""

import common
import numpy as np
import torch

import pictures
import trace
from methods import FOLDER, Question
from PIL import Image


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def measures(maps, pictured):
    """Of rows `[..., key]`: the share on the picture, how evenly it lies there (0 on one position, 1 on all alike), and the share times what is left of one."""
    own = maps[..., pictured]
    share = own.sum(-1)
    even = entropy(own / share[..., None]) / np.log(len(pictured))
    return share, even, share * (1 - even)


def by_depth(patterns, kinds, causal=True):
    """Of patterns `[layer, head, query, key]`: the mean over heads and the queries of a kind of what lies on each kind."""
    names = sorted(set(kinds), key=["text", "image", "special"].index)
    of = np.array([[kind == name for kind in kinds] for name in names], dtype=float)
    positions = np.arange(len(kinds))
    shares = np.einsum("fq,lhqk,tk->lft", of / of.sum(1, keepdims=True), patterns, of) / patterns.shape[1]
    distance = (patterns * np.abs(positions[:, None] - positions)).sum(-1).mean(-1)
    seen = np.ones((len(kinds), len(kinds)))
    seen = np.tril(seen) if causal else seen
    even = seen / seen.sum(-1, keepdims=True)
    uniform = np.einsum("fq,qk,tk->ft", of / of.sum(1, keepdims=True), even, of)
    return {
        "kinds": names, "shares": shares, "entropy": entropy(patterns).mean(-1), "distance": distance, "uniform shares": uniform,
        "uniform entropy": entropy(even).mean(), "uniform distance": (even * np.abs(positions[:, None] - positions)).sum(-1).mean(),
    }  # fmt: skip


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    with torch.no_grad():
        sites = trace.run(checkpoint, q.batch)[0]
    layers = q.model.config.text_config.num_hidden_layers
    patterns = np.stack([sites[f"text.blocks.{i}.attn.pattern"][0].double().numpy() for i in range(layers)])
    ids = q.ids[0].tolist()
    specials = set(checkpoint.processor.tokenizer.all_special_ids)
    kinds = ["image" if i == q.model.config.image_token_id else "special" if i in specials else "text" for i in ids]
    maps = patterns[:, :, -1]
    share, even, score = measures(maps, [at for at, kind in enumerate(kinds) if kind == "image"])
    out = {"llava/maps": maps, "llava/on the picture": share, "llava/evenness": even, "llava/score": score, "llava/entropy": entropy(maps)}
    depth = by_depth(patterns, kinds)
    names = depth.pop("kinds")
    out |= {f"llava/by depth/{name}": np.asarray(value) for name, value in depth.items()}

    from transformers import CLIPModel, CLIPProcessor

    folder = common.FIXTURES / "clip-a" / "model"
    clip = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = CLIPProcessor.from_pretrained(folder).image_processor(Image.open(pictures.FOLDER / "square.png").convert("RGB"), return_tensors="pt").pixel_values
    with torch.no_grad():
        tower = clip.vision_model(pixels, output_attentions=True).attentions
    out["clip/maps"] = np.stack([weights[0, :, 0].double().numpy() for weights in tower])
    whole = np.stack([weights[0].double().numpy() for weights in tower])
    depth = by_depth(whole, ["special"] + ["image"] * (whole.shape[-1] - 1), causal=False)
    depth.pop("kinds")
    out |= {f"clip/by depth/{name}": np.asarray(value) for name, value in depth.items()}
    common.save(FOLDER / "attention.safetensors", {name: torch.tensor(np.ascontiguousarray(value), dtype=torch.float32) for name, value in out.items()}, q.about | {"kinds": names})
    print({name: np.asarray(value).shape for name, value in out.items()}, names)


if __name__ == "__main__":
    main()

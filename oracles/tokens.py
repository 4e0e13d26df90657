"""What positions of `llava-a` and `clip-a` draw attention or hold unlike states, in NumPy on transformers' weights and states:
`fixtures/methods/tokens.safetensors`.

`llava/...` is of the language model about one picture, `clip/...` of the tower. `share` is the mean over heads and queries of the weights on each position,
`even` the same of attention that lies evenly on what each query sees, `sink heads` the share of heads in which the other positions that give a position
more than nothing give it more than `above` in the mean; `norm`, `largest` and `spike` are of the stream behind each block. `found` says by the bounds in
`about` of which of five kinds each position is, `held` and `evenly` which share of all attention, and of even attention, lies on each kind.
`cases/...` are means over two pictures.

`ablation/MODEL/HOW/BLOCK` is what becomes of the objective (of `llava-a` the logit of the likeliest token, of `clip-a` that of picture and text) if the states of
some positions that enter a block are zero, or the mean of their kind (positions that show pictures, and others), or if from this block on no other position
can look at them; for the sets in `about`.

`words.safetensors` has the words of the embedding or the unembedding that lie nearest to the stream of `llava-a` and `gemma2-a` before block 0 and behind every
block: `MODEL/DICTIONARY/MEASURE/ids` and `/scores`, `[depth, position, rank]`; `bank/...` which states of words in the texts in `about`, at any depth, lie nearest to
the picture's by cosine: the text, the position and the depth of each, `[depth, position, rank, 3]`; `smolvlm-a/bank/...` the same of `smolvlm-a`.
"""

import common
import numpy as np
import torch

import pictures
import trace
from methods import FOLDER, Question
from PIL import Image

BOUNDS = {
    "llava": {"times": 1.25, "above": 0.07, "most": 0.3, "norm": 1.1, "magnitude": 2.0, "over_median": 6.5, "spike": 2.8},
    "clip": {"times": 1.05, "above": 0.08, "most": 0.3, "norm": 1.05, "magnitude": 2.0, "over_median": 3.5, "spike": 2.3},
}


def measured(pattern, stream, bounds):
    """Of one layer: `pattern` [head, query, key], `stream` [position, width]."""
    sees = (pattern > 0).any(0)
    even = sees / sees.sum(-1, keepdims=True)
    others = pattern * (1 - np.eye(pattern.shape[-1]))
    looks = (others > 0).sum(1)
    means = np.where(looks > 0, others.sum(1) / np.maximum(looks, 1), 0)
    norm = np.sqrt((stream**2).sum(-1))
    largest = np.abs(stream).max(-1)
    out = {
        "share": pattern.mean((0, 1)),
        "even": even.mean(0),
        "sink heads": (means > bounds["above"]).mean(0),
        "norm": norm,
        "largest": largest,
        "spike": largest / np.sqrt((stream**2).mean(-1)),
    }
    compared = [
        (out["share"], bounds["times"] * out["even"]),
        (out["sink heads"], bounds["most"] + 1e-9),
        (norm, bounds["norm"] * np.median(norm)),
        (largest, np.maximum(bounds["magnitude"] + 1e-9, bounds["over_median"] * np.median(np.abs(stream)))),
        (out["spike"], np.array(bounds["spike"])),
    ]
    margin = min(np.abs(a - b).min() for a, b in compared)
    assert min(margin, np.abs(means - bounds["above"]).min()) > 1e-5, margin
    found = np.stack([a >= b for a, b in compared])
    return out | {"found": found, "count": found.sum(-1), "held": found @ out["share"], "evenly": found @ out["even"]}


def layers(patterns, streams, bounds):
    each = [measured(p.double().numpy(), s.double().numpy(), bounds) for p, s in zip(patterns, streams)]
    of_kinds = ("found", "count", "held", "evenly")
    return {name: np.stack([own[name] for own in each], axis=1 if name in of_kinds else 0) for name in each[0]}


SETS = {"llava": [[3, 7, 8], [5, 9, 26, 27], [28]], "clip": [[1, 6, 12], [0], [2, 3, 0]]}


def without(layers, block, how, positions, pictured):
    """Hooks by which positions are missing from a block on."""

    def replaced(layer, args, kwargs):
        states = (args[0] if args else kwargs["hidden_states"]).clone()
        mean = {kind: states[0, [at for at in range(states.shape[1]) if (at in pictured) == kind]].double().mean(0) for kind in (True, False)}
        for at in positions:
            states[0, at] = 0 if how == "zero" else mean[at in pictured].float()
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    def unseen(layer, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        mask = torch.zeros(1, 1, states.shape[1], states.shape[1]) if mask is None else mask.clone()
        for at in positions:
            mask[0, 0, [q for q in range(states.shape[1]) if q != at], at] = torch.finfo(torch.float32).min
        return ((args[0], mask, *args[2:]), kwargs) if len(args) > 1 else (args, kwargs | {"attention_mask": mask})

    some, hook = (layers[block:], unseen) if how == "cut" else (layers[block : block + 1], replaced)
    return [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in some]


def ablated(layers, score, sets, pictured):
    """By how and block, the change for every set."""
    with torch.no_grad():
        whole, out = score(), {}
        for how in ("zero", "mean", "cut"):
            for block in (0, 1):
                changes = []
                for positions in sets:
                    hooks = without(layers, block, how, positions, pictured)
                    changes.append(score() - whole)
                    for hook in hooks:
                        hook.remove()
                out[f"{how}/{block}"] = np.array(changes)
        assert score() == whole
    return out


PLACES = {"llava-a": [1, 2, 3, 9, 27], "gemma2-a": [0, 1, 3], "smolvlm-a": [4, 8, 17, 30]}


def words(name, model, sites, out, top=3):
    inner = getattr(model.model, "language_model", model.model)
    config = getattr(model.config, "text_config", model.config)
    scale = config.hidden_size**0.5 if config.model_type.startswith("gemma") else 1.0
    scale = float(torch.tensor(scale, dtype=torch.float32))
    dictionaries = {"embedding": inner.embed_tokens.weight.detach().double().numpy() * scale, "unembedding": model.lm_head.weight.detach().double().numpy()}
    depths = ["text.blocks.0.resid_pre"] + [f"text.blocks.{i}.resid_post" for i in range(config.num_hidden_layers)]
    states = np.stack([sites[depth][0, PLACES[name]].double().numpy() for depth in depths])
    for which, table in dictionaries.items():
        dot = states @ table.T
        lengths = np.linalg.norm(states, axis=-1)[..., None] * np.linalg.norm(table, axis=-1)
        distance = np.linalg.norm(states[:, :, None] - table, axis=-1)
        for measure, scores, sign in (("cosine", dot / lengths, -1), ("dot", dot, -1), ("distance", distance, 1)):
            ids = np.argsort(sign * scores, axis=-1, kind="stable")[..., : top + 1]
            best = np.take_along_axis(scores, ids, -1)
            gap = np.abs(np.diff(best, axis=-1)).min() / np.abs(best).max()
            assert gap > 1e-6, (name, which, measure, gap)
            out |= {f"{name}/{which}/{measure}/ids": ids[..., :top], f"{name}/{which}/{measure}/scores": best[..., :top]}


TEXTS = ["It is red.", "a blue square and a circle", "Red or blue?", "the tall one is green"]


def contextual(checkpoint, sites, out, top=3, skip=2, of="llava-a"):
    """Of every position of the texts but their first ones the stream at all depths."""
    layers = checkpoint.model.config.text_config.num_hidden_layers
    depths = ["text.blocks.0.resid_pre"] + [f"text.blocks.{i}.resid_post" for i in range(layers)]
    rows, where = [], []
    for number, text in enumerate(TEXTS):
        ids = checkpoint.processor.tokenizer(text, return_tensors="pt").input_ids
        own = {}
        hooks = []
        inner = checkpoint.model.model
        for i, layer in enumerate((inner.language_model if of == "llava-a" else inner.text_model).layers):
            def keep(module, args, kwargs, out, i=i):
                states = args[0] if args else kwargs["hidden_states"]
                own.setdefault(depths[0], states[0])
                own[depths[i + 1]] = (out[0] if isinstance(out, tuple) else out).reshape(states.shape)[0]
            hooks.append(layer.register_forward_hook(keep, with_kwargs=True))
        checkpoint.model(input_ids=ids, use_cache=False)
        for hook in hooks:
            hook.remove()
        specials = set(checkpoint.processor.tokenizer.all_special_ids)
        for depth, name in enumerate(depths):
            for at in range(skip, ids.shape[1]):
                if int(ids[0, at]) not in specials:
                    rows.append(own[name][at].double().numpy())
                    where.append((number, at, depth))
    rows, where = np.stack(rows), np.array(where)
    states = np.stack([sites[depth][0, PLACES[of]].double().numpy() for depth in depths])
    scores = states @ rows.T / (np.linalg.norm(states, axis=-1)[..., None] * np.linalg.norm(rows, axis=-1))
    # A token before the first block is the same wherever it stands: of equally near ones the first is taken.
    ids = np.argsort(-scores.round(12), axis=-1, kind="stable")[..., : top + 1]
    best = np.take_along_axis(scores, ids, -1)
    apart = np.abs(np.diff(best, axis=-1))
    assert apart[apart > 1e-12].min() > 1e-6, apart[apart > 1e-12].min()
    front = "" if of == "llava-a" else f"{of}/"
    found = {"scores": best[..., :top], "where": where[ids[..., :top]], "states": np.array([float(len(rows))])}
    out |= {f"{front}bank/{what}": value for what, value in found.items()}


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    out, cases = {}, []
    for picture in ("square", "tall"):
        q = Question(checkpoint, "<image>Red?", picture)
        with torch.no_grad():
            sites = trace.run(checkpoint, q.batch)[0]
        depth = range(q.model.config.text_config.num_hidden_layers)
        at = lambda point: [sites[f"text.blocks.{i}.{point}"][0] for i in depth]
        cases.append(layers(at("attn.pattern"), at("resid_post"), BOUNDS["llava"]))
    q = Question(checkpoint, "<image>Red?", "square")
    out |= {f"llava/{name}": value for name, value in cases[0].items()}
    held = np.stack([own["held"] for own in cases])
    found = np.stack([own["found"] for own in cases])
    out |= {
        "cases/cases": found.any(-1).mean(0),
        "cases/held": held.mean(0),
        "cases/deviation": held.std(0),
        "cases/evenly": np.mean([own["evenly"] for own in cases], 0),
        "cases/frequency": found.mean(0),
    }

    spoken = {}
    with torch.no_grad():
        words("llava-a", q.model, trace.run(checkpoint, q.batch)[0], spoken)
        contextual(checkpoint, trace.run(checkpoint, q.batch)[0], spoken)
        smol = trace.open_checkpoint(common.FIXTURES / "smolvlm-a" / "model")
        picture = Image.open(pictures.FOLDER / "square.png").convert("RGB")
        batch = trace.prepare(smol, [{"prompt": "<image>Red?", "images": [picture]}])
        shows = (batch.input_ids[0] == smol.model.config.image_token_id).nonzero()[:, 0].tolist()
        print("smolvlm-a shows its picture at", shows)
        contextual(smol, trace.run(smol, batch)[0], spoken, of="smolvlm-a")
        gemma = trace.open_checkpoint(common.FIXTURES / "gemma2-a" / "model")
        batch = trace.prepare(gemma, [{"prompt": "It is red."}])
        words("gemma2-a", gemma.model, trace.run(gemma, batch)[0], spoken)
    values = {name: torch.tensor(np.ascontiguousarray(value), dtype=torch.float32 if value.dtype == float else torch.int32) for name, value in spoken.items()}
    common.save(FOLDER / "words.safetensors", values, q.about | {"positions": PLACES, "gemma2-a": "It is red.", "texts": TEXTS})
    pictured = (q.ids[0] == q.model.config.image_token_id).nonzero()[:, 0].tolist()
    score = lambda: float(q.of_pixels(q.pixels)[0, q.target].double())
    own = ablated(q.model.model.language_model.layers, score, SETS["llava"], pictured)
    out |= {f"ablation/llava/{name}": value for name, value in own.items()}

    from transformers import CLIPModel, CLIPProcessor

    folder = common.FIXTURES / "clip-a" / "model"
    clip = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = CLIPProcessor.from_pretrained(folder).image_processor(Image.open(pictures.FOLDER / "square.png").convert("RGB"), return_tensors="pt").pixel_values
    with torch.no_grad():
        tower = clip.vision_model(pixels, output_attentions=True, output_hidden_states=True)
    own = layers([a[0] for a in tower.attentions], [h[0] for h in tower.hidden_states[1:]], BOUNDS["clip"])
    out |= {f"clip/{name}": value for name, value in own.items()}
    ids = CLIPProcessor.from_pretrained(folder).tokenizer(["a red square"], return_tensors="pt").input_ids
    score = lambda: float(clip(input_ids=ids, pixel_values=pixels).logits_per_image[0, 0].double())
    own = ablated(clip.vision_model.encoder.layers, score, SETS["clip"], list(range(1, 99)))
    out |= {f"ablation/clip/{name}": value for name, value in own.items()}
    for name in (name for name in out if name.startswith("ablation")):
        print(name, out[name])
    for name in ("llava", "clip"):
        print(name, "found", out[f"{name}/count"].tolist())
    values = {name: torch.tensor(np.ascontiguousarray(value), dtype=torch.float32) for name, value in out.items()}
    common.save(FOLDER / "tokens.safetensors", values, q.about | {"bounds": BOUNDS, "sets": SETS, "found": "kind layer position", "kinds": "beyond even, sink, norm, massive, spike"})


if __name__ == "__main__":
    main()

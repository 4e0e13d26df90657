"""Writes `fixtures/clip-*/trace-*.safetensors` and `fixtures/siglip-*/...`: both towers of a dual encoder, site by site.

    python oracles/make_dual.py [NAME ...]
    python oracles/make_dual.py --model DIR --image I ... --text T ... [--grad SITE ...] --out F.safetensors

A trace holds `input_ids`, `pixel_values`, `attention_mask` where the checkpoint's processor makes one, sites, `image_embeds` and
`text_embeds` (normalised), `logits_per_image`, `target` (the text that is most like the first picture), and `grad.SITE` of its logit. Sites are defined in README.md.
"""

import argparse

import common
import torch
from common import FIXTURES
from PIL import Image
from transformers import AttentionInterface, AutoModel, AutoProcessor
from transformers.masking_utils import AttentionMaskInterface, eager_mask

import pictures

PROBE = "mmlens_dual_probe"
_recorder = None


def probe(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Explicit attention that hands its intermediate tensors to the active recorder."""
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = torch.softmax(scores, dim=-1)
    z = pattern @ value
    if _recorder is not None:
        _recorder.attention(module, scores, pattern, z)
    return z.transpose(1, 2).contiguous(), pattern


AttentionInterface.register(PROBE, probe)
AttentionMaskInterface.register(PROBE, eager_mask)


def close(what, a, b, bound=2e-6):
    worst, relative = common.difference(a, b)
    if not relative <= bound:
        raise AssertionError(f"{what}: {worst:.3g} absolute, {relative:.3g} relative")


class Recorder:
    """Hooks on one model. `raw` keeps tensors of the autograd graph; `layouts` turn them into the axes of their sites."""

    def __init__(self, model):
        self.model, self.raw, self.layouts, self.handles, self.names = model, {}, {}, [], {}
        vision, text = model.vision_model, model.text_model
        if hasattr(vision, "pre_layrnorm"):
            self.after(vision.pre_layrnorm, "vision.input")
            self.after(vision.post_layernorm, "vision.pooled")
            self.after(model.visual_projection, "vision.projected")
            self.before(model.text_projection, "text.pooled")
            self.after(model.text_projection, "text.projected")
        else:
            self.after(vision.embeddings, "vision.input")
            self.after(vision.post_layernorm, "vision.final_norm")
            self.after(vision.head, "vision.pooled")
            self.before(text.head, "text.pooled")
            self.after(text.head, "text.projected")
        self.handles.append(text.embeddings.token_embedding.register_forward_hook(self.embedded))
        self.after(text.embeddings, "text.input")
        self.after(text.final_layer_norm, "text.final_norm")
        for part, tower in (("vision", vision), ("text", text)):
            for i, block in enumerate(tower.encoder.layers):
                self.block(f"{part}.blocks.{i}", block)

    def keep(self, site, tensor, layout=lambda x: x):
        assert site not in self.raw, f"{site} reached twice"
        self.raw[site], self.layouts[site] = tensor, layout

    def after(self, module, site, layout=lambda x: x):
        hook = lambda module, args, output: self.keep(site, output[0] if isinstance(output, tuple) else output, layout)
        self.handles.append(module.register_forward_hook(hook))

    def before(self, module, site):
        self.handles.append(module.register_forward_pre_hook(lambda module, args: self.keep(site, args[0])))

    def embedded(self, module, args, output):
        if torch.is_grad_enabled():
            output = output.detach().requires_grad_()
        self.keep("text.embed", output)
        return output

    def block(self, name, block):
        attention = block.self_attn
        self.names[attention] = name
        heads = lambda x: x.unflatten(-1, (-1, attention.head_dim))
        self.before(block, f"{name}.resid_pre")
        for part in "qkv":
            self.after(getattr(attention, f"{part}_proj"), f"{name}.attn.{part}", heads)
        self.after(attention, f"{name}.attn_out")
        self.before(block.layer_norm2, f"{name}.resid_mid")
        self.after(block.mlp.fc1, f"{name}.mlp.pre")
        self.before(block.mlp.fc2, f"{name}.mlp.post")
        self.after(block.mlp, f"{name}.mlp_out")
        self.after(block, f"{name}.resid_post")

    def attention(self, module, scores, pattern, z):
        name = self.names[module]
        self.keep(f"{name}.attn.scores", scores)
        self.keep(f"{name}.attn.pattern", pattern)
        self.keep(f"{name}.attn.z", z, lambda x: x.transpose(1, 2))

    def __enter__(self):
        global _recorder
        _recorder = self
        self.model.set_attn_implementation(PROBE)
        return self

    def __exit__(self, *_):
        global _recorder
        _recorder = None
        for handle in self.handles:
            handle.remove()
        self.model.set_attn_implementation("eager")

    def sites(self):
        """Every site in its own axes; some are not tensors of the graph and are derived here."""
        out = {site: self.layouts[site](x.detach()) for site, x in self.raw.items()}
        embed = self.model.vision_model.embeddings
        patches = embed.patch_embedding(out["vision.pixels"]).flatten(2).transpose(1, 2)
        if hasattr(embed, "class_embedding"):
            patches = torch.cat([embed.class_embedding.expand(len(patches), 1, -1), patches], 1)
        else:
            out["vision.projected"] = out["vision.pooled"]
            out |= self.pooling(out["vision.final_norm"])
        out["vision.embed"] = patches.detach()
        for module, name in self.names.items():
            z = out[f"{name}.attn.z"]
            weight = module.out_proj.weight.unflatten(1, (z.shape[2], z.shape[3]))
            out[f"{name}.attn.result"] = torch.einsum("bphd,mhd->bphm", z, weight)
        return out

    def pooling(self, x):
        """The pattern of SigLIP's pooling head, by hand from the fused projection."""
        head = self.model.vision_model.head
        attention, heads = head.attention, head.attention.num_heads
        q, k, _ = attention.in_proj_weight.chunk(3)
        bq, bk, _ = attention.in_proj_bias.chunk(3)
        split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
        query, key = split(head.probe.expand(len(x), -1, -1) @ q.T + bq), split(x @ k.T + bk)
        pattern = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1).detach()
        _, own = attention(head.probe.expand(len(x), -1, -1), x, x, average_attn_weights=False)
        close("pooling pattern", pattern, own)
        return {"vision.pool.pattern": pattern}


def open_checkpoint(folder):
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval().requires_grad_(False)
    return model, AutoProcessor.from_pretrained(folder, backend="pil")


def prepare(model, processor, images, texts):
    """As the model cards do it: CLIP pads to the longest text, SigLIP to the length it was trained with."""
    if model.config.model_type == "clip":
        how = {"padding": True}
    else:
        how = {"padding": "max_length"}
        if processor.tokenizer.model_max_length > 1e9:
            how["max_length"] = model.config.text_config.max_position_embeddings
    return dict(processor(text=texts, images=images, return_tensors="pt", **how))


def run(model, given, grads):
    given = given | {"pixel_values": given["pixel_values"].clone().requires_grad_(bool(grads))}
    with torch.set_grad_enabled(bool(grads)), Recorder(model) as recorder:
        recorder.keep("vision.pixels", given["pixel_values"])
        out = model(**given)
        gradients = {}
        if grads:
            at = [recorder.raw[site] for site in grads]
            found = torch.autograd.grad(out.logits_per_image[0].max(), at)
            gradients = {s: recorder.layouts[s](g) for s, g in zip(grads, found)}
        sites = recorder.sites()
    results = {name: getattr(out, name).detach() for name in ("image_embeds", "text_embeds", "logits_per_image")}
    results["target"] = results["logits_per_image"][0].argmax()[None]
    return sites, gradients, results


def verify(model, given, sites, results):
    """The recorded pass against the library's own outputs, and the equations between sites."""
    with torch.no_grad():
        own = model(**given, output_hidden_states=True, output_attentions=True)
    for name in ("image_embeds", "text_embeds", "logits_per_image"):
        close(name, results[name], getattr(own, name))
    for part, seen in (("vision", own.vision_model_output), ("text", own.text_model_output)):
        tower = getattr(model, f"{part}_model")
        for i, block in enumerate(tower.encoder.layers):
            at = {k.removeprefix(f"{part}.blocks.{i}."): x for k, x in sites.items() if k.startswith(f"{part}.blocks.{i}.")}
            close("resid_pre", at["resid_pre"], seen.hidden_states[i])
            close("pattern", at["attn.pattern"], seen.attentions[i])
            close("resid_mid", at["resid_mid"], at["resid_pre"] + at["attn_out"])
            close("resid_post", at["resid_post"], at["resid_mid"] + at["mlp_out"])
            close("attn_out", at["attn.result"].sum(2) + block.self_attn.out_proj.bias, at["attn_out"])
            close("mlp.post", block.mlp.activation_fn(at["mlp.pre"]), at["mlp.post"])
    normal = lambda x: x / x.norm(dim=-1, keepdim=True)
    close("image_embeds", normal(sites["vision.projected"]), results["image_embeds"])
    close("text_embeds", normal(sites["text.projected"]), results["text_embeds"])
    logits = results["image_embeds"] @ results["text_embeds"].T * model.logit_scale.exp()
    close("logits_per_image", logits + getattr(model, "logit_bias", 0.0), results["logits_per_image"])


def tensors(model, given, read=None, grads=()):
    sites, gradients, results = run(model, given, grads)
    verify(model, given, sites, results)
    chosen = sites if read is None else {s: sites[s] for s in sites if any(part in s for part in read)}
    return chosen | results | given | {f"grad.{s}": g for s, g in gradients.items()}, sites


SLIM = ["resid_post", "blocks.0.attn.pattern", "final_norm", "pooled", "projected"]
NO_PATTERN = ["pooled", "projected", "pool.pattern", "blocks.1.resid_post"]
MANY = ["vision.pixels", "vision.blocks.0.attn.pattern", "vision.blocks.1.resid_mid", "vision.pooled", "text.embed",
        "text.blocks.0.attn.z", "text.blocks.1.mlp.pre", "text.final_norm", "text.projected"]
UNICODE = "¿Où est 円? 😀 — «Größe» don't"
CASES = {
    "pair": (["tall"], ["a photo of a red circle"], None, MANY),
    "table": (["square", "wide"], ["a cat", "The SMALL yellow star isn't here, is it?", UNICODE], NO_PATTERN, ["vision.pixels"]),
    "tiny": (["tiny", "tall"], ["two  blue\n squares", "ring"], NO_PATTERN, ["vision.pixels", "text.embed"]),
}
NAMES = ["clip-a", "clip-b", "clip-old", "siglip-a", "siglip-2", "siglip-old"]


def in_double(model, given, grads):
    """The same pass in float64: what float32 itself costs."""
    model.double()
    try:
        return run(model, given | {"pixel_values": given["pixel_values"].double()}, grads)
    finally:
        model.float()


def make(name):
    folder = FIXTURES / name
    model, processor = open_checkpoint(folder / "model")
    for old in folder.glob("trace-*"):
        old.unlink()
    listed, measured = {}, {}
    for label, (images, texts, read, grads) in CASES.items():
        if read is None and name in ("clip-old", "siglip-old", "siglip-2"):
            read = SLIM
        opened = [Image.open(pictures.FOLDER / f"{n}.png") for n in images]
        given = prepare(model, processor, opened, texts)
        out, sites = tensors(model, given, read, grads)
        about = {"rows": [{"images": images, "texts": texts}], "pictures": "fixtures/pictures/NAME.png"}
        path = common.save(folder / f"trace-{label}.safetensors", out, about)
        exact, slopes, results = in_double(model, given, grads)
        seen = lambda x: x > -1e30
        errors = [common.difference(x[seen(x)], exact[s][seen(x)])[1] for s, x in sites.items() if s in exact]
        steep = [common.difference(out[f"grad.{s}"], g)[1] for s, g in slopes.items()]
        measured[label] = {"float32_activations": max(errors), "float32_gradients": max(steep)}
        listed[label] = about
        print(f"{name} {label}: {path.stat().st_size / 1024:.0f} KiB, ids {list(given['input_ids'].shape)}, {measured[label]}")
        assert set(given) == {"input_ids", "pixel_values"} | ({"attention_mask"} if name.startswith("clip") else set()), list(given)
    common.why(
        folder,
        "make_dual.py",
        "A tiny random dual encoder and what transformers computes with it, site by site.",
        {"input_ids": 0, "activations": 1e-4, "gradients": 1e-3, "pixel_values": 1e-6},
        "Relative to the largest absolute value of each tensor. `measured` holds the error of float32 itself (against the same pass in "
        "float64); the bounds leave an order of magnitude and more above it for another order of summation.",
        cases=listed,
        measured=measured,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--model")
    parser.add_argument("--image", action="append", default=[])
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--grad", action="append", default=[])
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.model:
        model, processor = open_checkpoint(args.model)
        given = prepare(model, processor, [Image.open(path) for path in args.image], args.text)
        common.save(args.out, tensors(model, given, None, args.grad)[0], {"images": args.image, "texts": args.text})
        return
    for name in args.names or NAMES:
        make(name)


if __name__ == "__main__":
    main()

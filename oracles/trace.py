"""Runs a LLaVA checkpoint in transformers and writes every site under mmlens's names, as `mmlens trace` does.

    python oracles/trace.py MODEL_DIR --image I --ask Q | --prompt RAW [--read SELECTOR ...] [--generate N]
                            [--grad SITE ...] [--target argmax|ID] --out F.safetensors

The sites are defined in README.md. Everything is float32 with explicit ("eager") attention. Before the file is written the script
compares what it recorded with the library's own hidden states and attentions, and checks every identity between sites.
"""

import argparse
import re
from dataclasses import dataclass, field

import common
import torch
from PIL import Image
from transformers import AttentionInterface, AutoProcessor, LlavaForConditionalGeneration
from transformers.masking_utils import AttentionMaskInterface, eager_mask

PROBE = "mmlens_probe"
_recorder = None


def probe(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Explicit attention that hands its intermediate tensors to the active recorder."""
    groups = query.shape[1] // key.shape[1]
    # Same memory layout as the library's own, so that the two passes agree to the bit.
    spread = lambda x: x if groups == 1 else x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2)
    keys, values = spread(key), spread(value)
    scores = query @ keys.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = torch.softmax(scores, dim=-1)
    z = pattern @ values
    if _recorder is not None:
        _recorder.attention(module, query, key, scores, pattern, z)
    return z.transpose(1, 2).contiguous(), pattern


AttentionInterface.register(PROBE, probe)
AttentionMaskInterface.register(PROBE, eager_mask)


@dataclass
class Checkpoint:
    model: LlavaForConditionalGeneration
    processor: object
    folder: str


@dataclass
class Batch:
    """What the model is given. `prompts` is the text before placeholders are expanded."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    pixel_values: torch.Tensor | None
    prompts: list[str] = field(default_factory=list)

    @property
    def position_ids(self):
        """Positions count real tokens only, as `generate` does; padding is hidden and its position does not matter."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def kwargs(self):
        given = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return given if self.pixel_values is None else given | {"pixel_values": self.pixel_values}


def open_checkpoint(folder, backend="pil", **config):
    """`backend` chooses the image processor: `pil` is what mmlens follows, `torchvision` what transformers takes by default."""
    folder = str(folder)
    model = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **config
    )
    model.eval().requires_grad_(False)
    return Checkpoint(model, AutoProcessor.from_pretrained(folder, backend=backend), folder)


def chat_prompt(processor, question, images):
    """The checkpoint's chat template on one user turn: the pictures first, then the question."""
    template = processor.chat_template or processor.tokenizer.chat_template
    content = [{"type": "image", "image": i} for i in images] + [{"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, chat_template=template, add_generation_prompt=True)
    ids = processor.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )["input_ids"]
    return text, ids


def prepare(checkpoint, rows):
    """`rows`: one `{"images": [...], "ask": Q}` or `{"images": [...], "prompt": RAW}` each; several rows are padded on the left."""
    processor = checkpoint.processor
    prompts, special, images, expected = [], [], [], []
    for row in rows:
        images += row["images"]
        if "ask" in row:
            text, ids = chat_prompt(processor, row["ask"], row["images"])
            bos = processor.tokenizer.bos_token
            special.append(not (bos and text.startswith(bos)))
        else:
            text, ids = row["prompt"], None
            special.append(True)
        prompts.append(text)
        expected.append(ids)
    if len(set(special)) != 1:
        raise ValueError("rows that need a BOS and rows that bring one cannot share a batch")
    processor.tokenizer.padding_side = "left"
    given = processor(
        text=list(prompts),
        images=images or None,
        add_special_tokens=special[0],
        padding=len(rows) > 1,
        return_tensors="pt",
    )
    if len(rows) == 1 and expected[0] is not None:
        assert torch.equal(given["input_ids"], expected[0]), "apply_chat_template(tokenize=True) gives other tokens"
    return Batch(given["input_ids"], given["attention_mask"], given.get("pixel_values"), prompts)


class Recorder:
    """Hooks on one model. `raw` keeps tensors of the autograd graph; `layout` turns one into the axes of its site."""

    def __init__(self, model, with_gradient):
        self.model, self.raw, self.layouts, self.handles = model, {}, {}, []
        self.with_gradient = with_gradient
        self.names = {}
        tower, text = model.model.vision_tower, model.model.language_model
        self.after(tower.embeddings, "vision.embed")
        self.after(tower.pre_layrnorm, "vision.input")
        for i, block in enumerate(tower.encoder.layers):
            self.block(f"vision.blocks.{i}", block, block.layer_norm2, block.self_attn.out_proj)
            self.after(block.mlp.fc1, f"vision.blocks.{i}.mlp.pre")
            self.before(block.mlp.fc2, f"vision.blocks.{i}.mlp.post")
        self.before(model.model.multi_modal_projector, "vision.features")
        self.after(model.model.multi_modal_projector, "connector.out")
        self.handles.append(text.embed_tokens.register_forward_hook(self.embedded))
        for i, block in enumerate(text.layers):
            self.block(f"text.blocks.{i}", block, block.post_attention_layernorm, block.self_attn.o_proj)
            self.after(block.mlp.gate_proj, f"text.blocks.{i}.mlp.gate")
            self.after(block.mlp.up_proj, f"text.blocks.{i}.mlp.pre")
            self.before(block.mlp.down_proj, f"text.blocks.{i}.mlp.post")
        self.after(text.norm, "text.final_norm")
        self.after(model.lm_head, "logits")

    def keep(self, site, tensor, layout=lambda x: x):
        assert site not in self.raw, f"{site} reached twice"
        self.raw[site], self.layouts[site] = tensor, layout

    def after(self, module, site, layout=lambda x: x):
        def hook(module, args, output):
            self.keep(site, output[0] if isinstance(output, tuple) else output, layout)

        self.handles.append(module.register_forward_hook(hook))

    def before(self, module, site):
        self.handles.append(module.register_forward_pre_hook(lambda module, args: self.keep(site, args[0])))

    def embedded(self, module, args, output):
        if self.with_gradient:
            output = output.detach().requires_grad_()
        self.keep("text.embed", output)
        return output

    def block(self, name, block, second_norm, out):
        attention = block.self_attn
        self.names[attention] = (name, out)
        heads = lambda x: x.unflatten(-1, (-1, attention.head_dim))
        self.before(block, f"{name}.resid_pre")
        for part in "qkv":
            self.after(getattr(attention, f"{part}_proj"), f"{name}.attn.{part}", heads)
        self.after(attention, f"{name}.attn_out")
        self.before(second_norm, f"{name}.resid_mid")
        self.after(block.mlp, f"{name}.mlp_out")
        self.after(block, f"{name}.resid_post")

    def attention(self, module, query, key, scores, pattern, z):
        name, _ = self.names[module]
        swap = lambda x: x.transpose(1, 2)
        if name.startswith("text"):
            self.keep(f"{name}.attn.q_rot", query, swap)
            self.keep(f"{name}.attn.k_rot", key, swap)
        self.keep(f"{name}.attn.scores", scores)
        self.keep(f"{name}.attn.pattern", pattern)
        self.keep(f"{name}.attn.z", z, swap)

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
        """Every site in its own axes. Three are not tensors of the graph and are derived here."""
        out = {site: self.layouts[site](x.detach()) for site, x in self.raw.items()}
        if "vision.embed" in out:  # the class token and the patches, before positions are added
            embed, pixels = self.model.model.vision_tower.embeddings, out["vision.pixels"]
            patches = embed.patch_embedding(pixels).flatten(2).transpose(1, 2)
            out["vision.embed"] = torch.cat([embed.class_embedding.expand(len(pixels), 1, -1), patches], 1)
        for name, linear in self.names.values():
            if f"{name}.attn.z" in out:
                z = out[f"{name}.attn.z"]
                weight = linear.weight.unflatten(1, (z.shape[2], z.shape[3]))
                out[f"{name}.attn.result"] = torch.einsum("bphd,mhd->bphm", z, weight)
        if "text.blocks.0.resid_pre" in out:
            out["text.input"] = out["text.blocks.0.resid_pre"]
        return out

    def gradients(self, objective, wanted):
        """d objective / d site. `attn.result` enters the stream as a sum, so every head's gradient is that of `attn_out`."""
        source = {}
        for site in wanted:
            at = site.replace("attn.result", "attn_out") if site.endswith(".attn.result") else site
            at = "text.blocks.0.resid_pre" if at == "text.input" else at
            if at not in self.raw:
                raise KeyError(f"no site `{site}`")
            source[site] = at
        unique = sorted(set(source.values()))
        grads = torch.autograd.grad(objective, [self.raw[s] for s in unique], allow_unused=True, materialize_grads=True)
        found = {s: self.layouts[s](g) for s, g in zip(unique, grads)}
        out = {}
        for site, at in source.items():
            out[site] = found[at]
            if site.endswith(".attn.result"):
                heads = self.layouts[f"{site[:-6]}z"](self.raw[f"{site[:-6]}z"]).shape[2]
                out[site] = found[at].unsqueeze(2).repeat(1, 1, heads, 1)
        return out


def select(sites, selectors):
    """`*` stands for one segment, `1,3` for a list of them."""
    def pattern(selector):
        parts = [
            "[^.]+" if p == "*" else "(" + "|".join(map(re.escape, p.split(","))) + ")" for p in selector.split(".")
        ]
        return re.compile(r"\.".join(parts))

    chosen = []
    for selector in selectors:
        hits = [s for s in sites if pattern(selector).fullmatch(s)]
        if not hits:
            raise KeyError(f"no site matches `{selector}`")
        chosen += hits
    return sorted(set(chosen))


def run(checkpoint, batch, grads=(), target="argmax", check=True):
    """One recorded pass. Returns (sites, gradients by site, target ids)."""
    model = checkpoint.model
    given = batch.kwargs() | {"position_ids": batch.position_ids, "use_cache": False}
    with_gradient = bool(grads)
    if with_gradient and batch.pixel_values is not None:
        given["pixel_values"] = batch.pixel_values.clone().requires_grad_()
    with torch.set_grad_enabled(with_gradient), Recorder(model, with_gradient) as recorder:
        if batch.pixel_values is not None:
            recorder.keep("vision.pixels", given["pixel_values"])
        logits = model(**given).logits
        last = logits[:, -1]
        ids = last.argmax(-1) if target == "argmax" else torch.full((len(last),), int(target))
        # Rows do not meet, so one backward pass of their sum gives each row its own gradient.
        objective = last.gather(1, ids[:, None]).sum()
        gradients = {s: g.detach() for s, g in recorder.gradients(objective, grads).items()} if with_gradient else {}
        sites = recorder.sites()
    if check:
        verify(checkpoint, batch, sites)
    return sites, gradients, ids


def generate(checkpoint, batch, count):
    """Greedy continuation; stops after an end token, which is kept."""
    with torch.no_grad():
        ids = checkpoint.model.generate(**batch.kwargs(), max_new_tokens=count, do_sample=False, num_beams=1)
    return ids[:, batch.input_ids.shape[1] :]


def close(what, a, b, bound=1e-6):
    worst, relative = common.difference(a, b)
    # A sum of n terms may round differently in another order; 1e-6 of the largest value is a few units in the last place.
    if not relative <= bound:
        raise AssertionError(f"{what}: {worst:.3g} absolute, {relative:.3g} relative")
    return relative


def verify(checkpoint, batch, sites):
    """The recorded pass against the library's own outputs, and the equations between sites."""
    model, config = checkpoint.model, checkpoint.model.config
    real = batch.attention_mask.bool()
    with torch.no_grad():
        own = model(
            **batch.kwargs(), position_ids=batch.position_ids, use_cache=False, output_hidden_states=True, output_attentions=True
        )
    close("logits", sites["logits"][real], own.logits[real])
    layers = config.text_config.num_hidden_layers
    assert len(own.hidden_states) == layers + 1
    for i in range(layers):
        close(f"hidden_states[{i}]", sites[f"text.blocks.{i}.resid_pre"][real], own.hidden_states[i][real])
        mine, theirs = sites[f"text.blocks.{i}.attn.pattern"], own.attentions[i]
        close(f"attentions[{i}]", mine.transpose(1, 2)[real], theirs.transpose(1, 2)[real])
    close("hidden_states[-1] is final_norm", sites["text.final_norm"][real], own.hidden_states[-1][real])
    blocks = [f"text.blocks.{i}" for i in range(layers)]

    if batch.pixel_values is not None:
        tower = model.model.vision_tower
        with torch.no_grad():
            seen = tower(batch.pixel_values, output_hidden_states=True, output_attentions=True)
        depth = config.vision_config.num_hidden_layers
        stream = [sites["vision.input"]] + [sites[f"vision.blocks.{i}.resid_post"] for i in range(depth)]
        assert len(seen.hidden_states) == depth + 1
        for i, x in enumerate(stream):
            close(f"vision hidden_states[{i}]", x, seen.hidden_states[i])
        for i in range(depth):
            close(f"vision attentions[{i}]", sites[f"vision.blocks.{i}.attn.pattern"], seen.attentions[i])
        pixels, embed = batch.pixel_values, tower.embeddings
        patches = torch.nn.functional.unfold(pixels, embed.patch_size, stride=embed.patch_size).transpose(1, 2)
        patches = patches @ embed.patch_embedding.weight.flatten(1).T
        joined = torch.cat([embed.class_embedding.expand(len(pixels), 1, -1), patches], 1)
        close("vision.embed", sites["vision.embed"], joined)
        close("vision.input", sites["vision.input"], tower.pre_layrnorm(joined + embed.position_embedding.weight))
        which = config.vision_feature_layer
        chosen = [stream[i] for i in ([which] if isinstance(which, int) else which)]
        if config.vision_feature_select_strategy == "default":
            chosen = [x[:, 1:] for x in chosen]
        close("vision.features", sites["vision.features"], torch.cat(chosen, -1))
        close("connector.out", sites["connector.out"].flatten(0, 1), own.image_hidden_states)
        blocks += [f"vision.blocks.{i}" for i in range(depth)]
        holes = batch.input_ids == config.image_token_id
        close("image positions", sites["text.input"][holes], sites["connector.out"].flatten(0, 1))
        close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
    close("text.embed", sites["text.embed"], model.model.language_model.embed_tokens(batch.input_ids))

    for name in blocks:
        block = model.get_submodule(
            name.replace("text.blocks", "model.language_model.layers").replace("vision.blocks", "model.vision_tower.encoder.layers")
        )
        gated = name.startswith("text")
        at = {k.removeprefix(name + "."): x for k, x in sites.items() if k.startswith(name + ".")}
        close(f"{name}.resid_mid", at["resid_mid"], at["resid_pre"] + at["attn_out"])
        close(f"{name}.resid_post", at["resid_post"], at["resid_mid"] + at["mlp_out"])
        q, k = (at["attn.q_rot"], at["attn.k_rot"]) if gated else (at["attn.q"], at["attn.k"])
        groups = q.shape[2] // k.shape[2]
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(groups, 2)) / q.shape[-1] ** 0.5
        seen = at["attn.scores"] > -1e30
        close(f"{name}.scores", scores[seen], at["attn.scores"][seen])
        close(f"{name}.pattern", at["attn.scores"].softmax(-1), at["attn.pattern"])
        z = torch.einsum("bhqk,bkhd->bqhd", at["attn.pattern"], at["attn.v"].repeat_interleave(groups, 2))
        close(f"{name}.z", at["attn.z"], z)
        out = block.self_attn.o_proj if gated else block.self_attn.out_proj
        total = at["attn.result"].sum(2) + (out.bias if out.bias is not None else 0)
        close(f"{name}.attn_out", total, at["attn_out"])
        act = block.mlp.act_fn if gated else block.mlp.activation_fn
        post = act(at["mlp.gate"]) * at["mlp.pre"] if gated else act(at["mlp.pre"])
        close(f"{name}.mlp.post", at["mlp.post"], post)


def tensors(checkpoint, batch, read=None, count=0, grads=(), target="argmax", logits=True):
    """The contents of a trace file."""
    sites, gradients, ids = run(checkpoint, batch, grads, target)
    chosen = sites if read is None else {s: sites[s] for s in select(sites, read)}
    out = dict(chosen) | {"input_ids": batch.input_ids, "target": ids}
    if logits:
        out["logits"] = sites["logits"]
    out |= {f"grad.{s}": g for s, g in gradients.items()}
    if batch.pixel_values is not None:
        out["pixel_values"] = batch.pixel_values
    if len(batch.input_ids) > 1:
        out |= {"attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    if count:
        out["generated"] = generate(checkpoint, batch, count)
        assert out["generated"][:, 0].tolist() == sites["logits"][:, -1].argmax(-1).tolist(), "generate starts elsewhere"
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--image", action="append", default=[])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ask")
    what.add_argument("--prompt")
    parser.add_argument("--read", action="append", help="sites to write; all of them when left out")
    parser.add_argument("--generate", type=int, default=0)
    parser.add_argument("--grad", action="append", default=[])
    parser.add_argument("--target", default="argmax")
    parser.add_argument("--backend", default="pil", choices=("pil", "torchvision"))
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    checkpoint = open_checkpoint(args.model, args.backend)
    row = {"images": [Image.open(path) for path in args.image]}
    row |= {"ask": args.ask} if args.ask is not None else {"prompt": args.prompt}
    batch = prepare(checkpoint, [row])
    out = tensors(checkpoint, batch, args.read, args.generate, args.grad, args.target)
    common.save(args.out, out, {"prompt": batch.prompts[0], "images": len(args.image)})
    for name, x in sorted(out.items()):
        print(f"{name:40} {str(list(x.shape)):22} {str(x.dtype).removeprefix('torch.')}")


if __name__ == "__main__":
    main()

"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL in transformers, with every site under mmlens's name.

What differs from the other families:

- A tower takes patches, not pictures: `pixel_values` is `[patches, channel * 2 * side * side]`, those of all pictures one after the
  other, then those of all clips. Its sites have a leading axis of length one: `[1, patches, d]`, patterns `[1, head, patches, patches]`.
- Patches attend within their frame or window alone; everything else in `attn.pattern` is zero, and in `attn.scores` the lowest float.
- Qwen2.5-VL computes in the order of its windows. Its sites are given in the order of `pixel_values`; so is `connector.out`.
- `connector.blocks.i.deepstack` (Qwen3-VL): what the merger gives that is added behind block i of the language model.
  `text.blocks.i.deepstack`: the same in its places, zero elsewhere; `resid_pre` of block i + 1 is `resid_post` of block i plus it.
"""

from dataclasses import dataclass, field

import common
import numpy as np
import torch
from PIL import Image
from transformers import AttentionInterface, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from transformers.image_transforms import convert_to_rgb
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.vision_utils import get_vision_window_index

from passes import GREEDY
from verify import begins

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
PROBE = "mmlens_probe_qwen"
LOWEST = torch.finfo(torch.float32).min
_recorder = None


def probe(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    groups = query.shape[1] // key.shape[1]
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
    model: object
    processor: object
    folder: str


@dataclass
class Batch:
    """What the model is given. `prompts` is the text before placeholders are expanded."""

    given: dict
    position_ids: torch.Tensor
    prompts: list[str] = field(default_factory=list)

    @property
    def input_ids(self):
        return self.given["input_ids"]

    @property
    def attention_mask(self):
        return self.given["attention_mask"]

    @property
    def pixels(self):
        return [self.given[k] for k in ("pixel_values", "pixel_values_videos") if k in self.given]


def open_checkpoint(folder, backend="pil", **config):
    folder = str(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    model.eval().requires_grad_(False)
    # Clips have a torchvision processor alone.
    processor = AutoProcessor.from_pretrained(folder)
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    return Checkpoint(model, processor, folder)


def open(folder, backend="pil", **config):
    return open_checkpoint(folder, backend, **config)


def prepare(checkpoint, rows):
    """`rows`: `{"images": [...], "videos": [[frame, ...], ...], "fps": F, "ask" | "prompt": ...}`; padded on the left."""
    processor = checkpoint.processor
    prompts, images, videos, metadata = [], [], [], []
    for row in rows:
        images += row.get("images", [])
        for frames in row.get("videos", []):
            videos.append(torch.stack([torch.from_numpy(np.array(convert_to_rgb(f))).permute(2, 0, 1) for f in frames]))
            n, fps = len(frames), row.get("fps", 24.0)
            metadata.append({"fps": fps, "total_num_frames": n, "frames_indices": list(range(n)), "duration": n / fps})
        if "ask" in row:
            content = [{"type": "image"} for _ in row.get("images", [])] + [{"type": "video"} for _ in row.get("videos", [])]
            content.append({"type": "text", "text": row["ask"]})
            template = processor.chat_template or processor.tokenizer.chat_template
            messages = [{"role": "user", "content": content}]
            prompts.append(processor.apply_chat_template(messages, chat_template=template, add_generation_prompt=True))
        else:
            prompts.append(row["prompt"])
    processor.tokenizer.padding_side = "left"
    more = {"images": images} if images else {}
    if videos:
        more |= {"videos": videos, "video_metadata": metadata}
    given = dict(processor(text=list(prompts), padding=len(rows) > 1, return_tensors="pt", **more))
    if "second_per_grid_ts" in given:
        given["second_per_grid_ts"] = torch.as_tensor(given["second_per_grid_ts"], dtype=torch.float32)
    given.pop("video_metadata", None)
    # Real tokens only are counted. Where there are no pictures the three counts are the same.
    if more:
        grids = {k: given[k] for k in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts") if k in given}
        positions, _ = checkpoint.model.model.get_rope_index(
            input_ids=given["input_ids"], mm_token_type_ids=given["mm_token_type_ids"], attention_mask=given["attention_mask"], **grids
        )
    else:
        positions = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)[None].expand(3, -1, -1)
    return Batch(given, positions, prompts)


class Recorder:
    """Hooks on one model. `raw[site]` is one list of tensors for each call of the tower; a site of the text has one call of one."""

    def __init__(self, model, with_gradient):
        self.model, self.with_gradient = model, with_gradient
        self.raw, self.layouts, self.handles, self.names, self.orders = {}, {}, [], {}, []
        tower, text = model.model.visual, model.model.language_model
        self.handles.append(tower.register_forward_pre_hook(self.called, with_kwargs=True))
        self.after(tower.patch_embed, "vision.embed", self.stream)
        for i, block in enumerate(tower.blocks):
            name = f"vision.blocks.{i}"
            self.names[block.attn] = (name, block.attn.proj)
            self.before(block, f"{name}.resid_pre", self.stream)
            self.handles.append(block.attn.qkv.register_forward_hook(self.fused(name, block.attn.num_heads)))
            self.after(block.attn, f"{name}.attn_out", self.stream)
            self.before(block.norm2, f"{name}.resid_mid", self.stream)
            mlp = block.mlp
            if hasattr(mlp, "gate_proj"):
                self.after(mlp.gate_proj, f"{name}.mlp.gate", self.stream)
                self.after(mlp.up_proj, f"{name}.mlp.pre", self.stream)
                self.before(mlp.down_proj, f"{name}.mlp.post", self.stream)
            else:
                first, second = (mlp.fc1, mlp.fc2) if hasattr(mlp, "fc1") else (mlp.linear_fc1, mlp.linear_fc2)
                self.after(first, f"{name}.mlp.pre", self.stream)
                self.before(second, f"{name}.mlp.post", self.stream)
            self.after(mlp, f"{name}.mlp_out", self.stream)
            self.after(block, f"{name}.resid_post", self.stream)
        self.before(tower.merger, "vision.features", self.stream)
        self.after(tower.merger, "connector.out", self.merged)
        for j, layer in enumerate(sorted(getattr(tower, "deepstack_visual_indexes", []))):
            merger = tower.deepstack_merger_list[list(tower.deepstack_visual_indexes).index(layer)]
            self.after(merger, f"connector.blocks.{j}.deepstack", self.merged)
        self.handles.append(text.embed_tokens.register_forward_hook(self.embedded))
        for i, block in enumerate(text.layers):
            name, attention = f"text.blocks.{i}", block.self_attn
            self.names[attention] = (name, attention.o_proj)
            heads = lambda x, d=attention.head_dim: x.unflatten(-1, (-1, d))
            self.before(block, f"{name}.resid_pre", self.whole())
            for part in "qkv":
                self.after(getattr(attention, f"{part}_proj"), f"{name}.attn.{part}", self.whole(heads))
            self.after(attention, f"{name}.attn_out", self.whole())
            self.before(block.post_attention_layernorm, f"{name}.resid_mid", self.whole())
            self.after(block.mlp.gate_proj, f"{name}.mlp.gate", self.whole())
            self.after(block.mlp.up_proj, f"{name}.mlp.pre", self.whole())
            self.before(block.mlp.down_proj, f"{name}.mlp.post", self.whole())
            self.after(block.mlp, f"{name}.mlp_out", self.whole())
            self.after(block, f"{name}.resid_post", self.whole())
        self.after(text.norm, "text.final_norm", self.whole())
        self.after(model.lm_head, "logits", self.whole())

    # How pieces become a site.

    def called(self, module, args, kwargs):
        """One order of patches and merged patches for each call of the tower."""
        grid = kwargs["grid_thw"]
        merge = module.spatial_merge_size**2
        patches = int(grid.prod(-1).sum())
        order = torch.arange(patches // merge)
        if hasattr(module, "window_size"):
            order, _ = get_vision_window_index(grid, module.spatial_merge_size, module.window_size, module.patch_size)
        self.orders.append((torch.arange(patches).view(-1, merge)[order].flatten(), order))

    @staticmethod
    def back(x, order):
        out = torch.empty_like(x)
        out[order] = x
        return out

    def stream(self, calls, fill=0.0, shape=lambda x: x):
        rows = []
        for call, pieces in enumerate(calls):
            x = torch.cat(pieces)
            # The patches are embedded before they are put in the order of windows.
            rows.append(shape(x if shape is self.plain else self.back(x, self.orders[call][0])))
        return torch.cat(rows)[None]

    @staticmethod
    def plain(x):
        return x

    def merged(self, calls, fill=0.0):
        return torch.cat([self.back(torch.cat(pieces), self.orders[i][1]) for i, pieces in enumerate(calls)])[None]

    def heads_first(self, calls, fill=0.0):
        """`[1, head, pos, d]` pieces to `[1, pos, head, d]`."""
        return self.stream([[x[0].transpose(0, 1) for x in pieces] for pieces in calls])

    def pairs(self, calls, fill=0.0):
        """Blocks of a matrix that is `fill` elsewhere."""
        total = sum(x.shape[-1] for pieces in calls for x in pieces)
        out = calls[0][0].new_full((calls[0][0].shape[1], total, total), fill)
        start = 0
        for call, pieces in enumerate(calls):
            order, at = self.orders[call][0], 0
            for x in pieces:
                where = start + order[at : at + x.shape[-1]]
                out[:, where[:, None], where[None]] = x[0]
                at += x.shape[-1]
            start += len(order)
        return out[None]

    @staticmethod
    def whole(shape=lambda x: x):
        return lambda calls, fill=0.0: shape(calls[0][0])

    # Hooks.

    def keep(self, site, tensor, layout):
        calls = self.raw.setdefault(site, [])
        self.layouts[site] = layout
        call = max(len(self.orders) - 1, 0) if site.startswith(("vision", "connector")) else 0
        while len(calls) <= call:
            calls.append([])
        calls[call].append(tensor)

    def after(self, module, site, layout):
        if site == "vision.embed":
            layout = lambda calls, fill=0.0: torch.cat([x for pieces in calls for x in pieces])[None]

        def hook(module, args, output):
            self.keep(site, output[0] if isinstance(output, tuple) else output, layout)

        self.handles.append(module.register_forward_hook(hook))

    def before(self, module, site, layout):
        def hook(module, args, kwargs):
            self.keep(site, args[0] if args else kwargs["hidden_states"], layout)

        self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def fused(self, name, heads):
        def hook(module, args, output):
            for i, part in enumerate("qkv"):
                pick = lambda x, i=i: x.unflatten(-1, (3, heads, -1))[:, i]
                self.keep(f"{name}.attn.{part}", output, lambda calls, fill=0.0, pick=pick: self.stream(calls, shape=pick))

        return hook

    def embedded(self, module, args, output):
        if self.with_gradient:
            output = output.detach().requires_grad_()
        self.keep("text.embed", output, self.whole())
        return output

    def attention(self, module, query, key, scores, pattern, z):
        name, _ = self.names[module]
        if name.startswith("vision"):
            layouts = self.heads_first, self.pairs
        else:
            layouts = self.whole(lambda x: x.transpose(1, 2)), self.whole()
        for point, x, layout in (
            ("q_rot", query, layouts[0]),
            ("k_rot", key, layouts[0]),
            ("scores", scores, layouts[1]),
            ("pattern", pattern, layouts[1]),
            ("z", z, layouts[0]),
        ):
            self.keep(f"{name}.attn.{point}", x, layout)

    def inject(self, hidden_states, visual_pos_masks, visual_embeds):
        """In place of the model's own: the same sum, with the addend written out at every position."""
        full = torch.zeros_like(hidden_states).index_put((visual_pos_masks,), visual_embeds)
        done = sum(site.endswith(".deepstack") and site.startswith("text") for site in self.raw)
        self.keep(f"text.blocks.{done}.deepstack", full, self.whole())
        return hidden_states + full

    def __enter__(self):
        global _recorder
        _recorder = self
        self.model.set_attn_implementation(PROBE)
        text = self.model.model.language_model
        if hasattr(text, "_deepstack_process"):
            text._deepstack_process = self.inject
        return self

    def __exit__(self, *_):
        global _recorder
        _recorder = None
        for handle in self.handles:
            handle.remove()
        vars(self.model.model.language_model).pop("_deepstack_process", None)
        self.model.set_attn_implementation("eager")

    def sites(self):
        out = {}
        for site, calls in self.raw.items():
            fill = LOWEST if site.startswith("vision") and site.endswith("scores") else 0.0
            out[site] = self.layouts[site]([[x.detach() for x in pieces] for pieces in calls], fill)
        for name, linear in self.names.values():
            if f"{name}.attn.z" in out:
                z = out[f"{name}.attn.z"]
                weight = linear.weight.unflatten(1, (z.shape[2], z.shape[3]))
                out[f"{name}.attn.result"] = torch.einsum("bphd,mhd->bphm", z, weight)
        out["text.input"] = out["text.blocks.0.resid_pre"]
        if "vision.blocks.0.resid_pre" in out:
            out["vision.input"] = out["vision.blocks.0.resid_pre"]
        return out

    def gradients(self, objective, wanted):
        """d objective / d site. `attn.result` enters the stream as a sum, so every head's gradient is that of `attn_out`."""
        source = {}
        for site in wanted:
            at = site.replace("attn.result", "attn_out") if site.endswith(".attn.result") else site
            at = at.replace(".input", ".blocks.0.resid_pre")
            if at not in self.raw:
                raise KeyError(f"no site `{site}`")
            source[site] = at
        tensors = [x for at in sorted(set(source.values())) for pieces in self.raw[at] for x in pieces]
        grads = iter(torch.autograd.grad(objective, tensors, allow_unused=True, materialize_grads=True))
        found = {}
        for at in sorted(set(source.values())):
            found[at] = self.layouts[at]([[next(grads) for _ in pieces] for pieces in self.raw[at]])
        out = {}
        for site, at in source.items():
            out[site] = found[at]
            if site.endswith(".attn.result"):
                linear = next(l for name, l in self.names.values() if site.startswith(name + "."))
                heads = sum(1 for _ in range(linear.weight.shape[1])) // self.raw[f"{site[:-6]}z"][0][0].shape[-1]
                out[site] = found[at].unsqueeze(2).repeat(1, 1, heads, 1)
        return out


def run(checkpoint, batch, grads=(), target="argmax", check=True):
    """One recorded pass. Returns (sites, gradients by site, target ids)."""
    model = checkpoint.model
    given = batch.given | {"position_ids": batch.position_ids, "use_cache": False}
    with_gradient = bool(grads)
    names = [k for k in ("pixel_values", "pixel_values_videos") if k in given]
    for k in names:
        given[k] = given[k].clone().requires_grad_(with_gradient)
    model.model.rope_deltas = None
    with torch.set_grad_enabled(with_gradient), Recorder(model, with_gradient) as recorder:
        for k in names:
            recorder.raw.setdefault("vision.pixels", []).append([given[k]])
        recorder.layouts["vision.pixels"] = lambda calls, fill=0.0: torch.cat([x for pieces in calls for x in pieces])
        logits = model(**given).logits
        last = logits[:, -1]
        ids = last.argmax(-1) if target == "argmax" else torch.full((len(last),), int(target))
        objective = last.gather(1, ids[:, None]).sum()
        gradients = {s: g.detach() for s, g in recorder.gradients(objective, grads).items()} if with_gradient else {}
        sites = recorder.sites()
    if check:
        verify(checkpoint, batch, sites)
    return sites, gradients, ids


def generate(checkpoint, batch, count, sites):
    """Greedy continuation; stops after an end token, which is kept."""
    checkpoint.model.model.rope_deltas = None
    with torch.no_grad():
        made = checkpoint.model.generate(**batch.given, **GREEDY, max_new_tokens=count)
    begins(sites, made)
    return made.sequences[:, -len(made.logits) :]


def close(what, a, b, bound=2e-6):
    worst, relative = common.difference(a, b)
    if not relative <= bound:
        raise AssertionError(f"{what}: {worst:.3g} absolute, {relative:.3g} relative")


def verify(checkpoint, batch, sites):
    """The recorded pass against the library's own outputs, and the equations between sites."""
    model, config = checkpoint.model, checkpoint.model.config
    real = batch.attention_mask.bool()
    model.model.rope_deltas = None
    with torch.no_grad():
        # Positions left to the library: what it finds must be what was recorded with.
        own = model(**batch.given, use_cache=False, output_hidden_states=True, output_attentions=True)
    close("logits", sites["logits"][real], own.logits[real])
    close("final_norm", sites["text.final_norm"][real], own.hidden_states[-1][real])
    layers = config.text_config.num_hidden_layers
    for i in range(layers):
        close(f"attentions[{i}]", sites[f"text.blocks.{i}.attn.pattern"].transpose(1, 2)[real], own.attentions[i].transpose(1, 2)[real])
    close("text.embed", sites["text.embed"], model.model.language_model.embed_tokens(batch.input_ids))
    blocks = [f"text.blocks.{i}" for i in range(layers)]
    holes = (batch.input_ids == config.image_token_id) | (batch.input_ids == config.video_token_id)
    close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
    for i in range(layers - 1):
        after = sites[f"text.blocks.{i}.resid_post"] + sites.get(f"text.blocks.{i}.deepstack", 0.0)
        close(f"resid_pre {i + 1}", sites[f"text.blocks.{i + 1}.resid_pre"], after)
    if "connector.out" in sites:
        tower = model.model.visual
        merged, start = sites["connector.out"][0], 0
        for token, grid, values in (
            (config.image_token_id, "image_grid_thw", "pixel_values"),
            (config.video_token_id, "video_grid_thw", "pixel_values_videos"),
        ):
            if values not in batch.given:
                continue
            with torch.no_grad():
                seen = tower(batch.given[values], grid_thw=batch.given[grid])
            here = merged[start : start + len(seen.pooler_output)]
            close("connector.out", here, seen.pooler_output)
            close("positions of pictures", sites["text.input"][batch.input_ids == token], here)
            for j, feature in enumerate(getattr(seen, "deepstack_features", None) or []):
                mine = sites[f"connector.blocks.{j}.deepstack"][0][start : start + len(feature)]
                close("connector.deepstack", mine, feature)
                if j < layers:
                    close("deepstack", sites[f"text.blocks.{j}.deepstack"][batch.input_ids == token], mine)
            start += len(seen.pooler_output)
        depth = len(tower.blocks)
        for i in range(depth - 1):
            close(f"vision resid_pre {i + 1}", sites[f"vision.blocks.{i + 1}.resid_pre"], sites[f"vision.blocks.{i}.resid_post"])
        close("vision.features", sites["vision.features"], sites[f"vision.blocks.{depth - 1}.resid_post"])
        embed = tower.patch_embed.proj
        flat = sites["vision.pixels"] @ embed.weight.flatten(1).T + (0 if embed.bias is None else embed.bias)
        close("vision.embed", sites["vision.embed"][0], flat)
        if not hasattr(tower, "pos_embed"):
            close("vision.input", sites["vision.input"], sites["vision.embed"])
        blocks += [f"vision.blocks.{i}" for i in range(depth)]
    for name in blocks:
        text = name.startswith("text")
        block = model.get_submodule(name.replace("text.blocks", "model.language_model.layers").replace("vision.", "model.visual."))
        at = {k.removeprefix(name + "."): x for k, x in sites.items() if k.startswith(name + ".")}
        close(f"{name}.resid_mid", at["resid_mid"], at["resid_pre"] + at["attn_out"])
        close(f"{name}.resid_post", at["resid_post"], at["resid_mid"] + at["mlp_out"])
        q, k = at["attn.q_rot"], at["attn.k_rot"]
        groups = q.shape[2] // k.shape[2]
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k.repeat_interleave(groups, 2)) / q.shape[-1] ** 0.5
        seen = at["attn.scores"] > -1e30
        close(f"{name}.scores", scores[seen], at["attn.scores"][seen])
        close(f"{name}.pattern", at["attn.scores"].softmax(-1), at["attn.pattern"])
        z = torch.einsum("bhqk,bkhd->bqhd", at["attn.pattern"], at["attn.v"].repeat_interleave(groups, 2))
        close(f"{name}.z", at["attn.z"], z)
        out = block.self_attn.o_proj if text else block.attn.proj
        close(f"{name}.attn_out", at["attn.result"].sum(2) + (0 if out.bias is None else out.bias), at["attn_out"])
        act = getattr(block.mlp, "act_fn", None) or block.mlp.act
        post = act(at["mlp.gate"]) * at["mlp.pre"] if "mlp.gate" in at else act(at["mlp.pre"])
        close(f"{name}.mlp.post", at["mlp.post"], post)


def tensors(checkpoint, batch, read=None, count=0, grads=(), target="argmax", logits=True):
    """The contents of a trace file."""
    sites, gradients, ids = run(checkpoint, batch, grads, target)
    if read is None:
        chosen = sites
    else:
        from trace import select

        present = [s for s in read if not s.startswith(("vision", "connector")) or batch.pixels]
        chosen = {s: sites[s] for s in select(sites, present)}
    out = dict(chosen) | {"input_ids": batch.input_ids, "target": ids, "position_ids": batch.position_ids}
    out.pop("vision.pixels", None)  # the same as pixel_values
    if logits:
        out["logits"] = sites["logits"]
    out |= {f"grad.{s}": g for s, g in gradients.items()}
    if batch.pixels:
        out["pixel_values"] = torch.cat(batch.pixels)
    out |= {k: batch.given[k] for k in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts") if k in batch.given}
    if len(batch.input_ids) > 1:
        out["attention_mask"] = batch.attention_mask
    if count:
        out["generated"] = generate(checkpoint, batch, count, sites)
    return out

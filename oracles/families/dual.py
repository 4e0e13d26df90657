"""Dual encoders: CLIP, SigLIP and SigLIP 2 at a fixed resolution.

A trace has `image_embeds` and `text_embeds` (normalised), `logits_per_image`, and as `target` the text that is most like the first picture;
gradients are those of its logit.
"""

import torch
from transformers import AutoModel, AutoProcessor

import verify as equations
from families.llava import embedded
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoProcessor.from_pretrained(folder, backend=backend), folder)


def prepare(checkpoint, rows):
    """As the model cards do it: CLIP pads to the longest text, SigLIP to the length it was trained with."""
    [row] = rows
    config, how = checkpoint.model.config, {"padding": True}
    if config.model_type == "siglip":
        how = {"padding": "max_length"}
        if checkpoint.tokenizer.model_max_length > 1e9:
            how["max_length"] = config.text_config.max_position_embeddings
    made = checkpoint.processor(text=row["texts"], images=row["images"], return_tensors="pt", **how)
    return Batch(made["input_ids"], made.get("attention_mask"), made["pixel_values"], list(row["texts"]), counts=False)


def arguments(batch):
    return batch.kwargs()


def forward(model, given):
    out = model(**given)
    # The texts that the target chooses from, for the first picture.
    return {name: getattr(out, name) for name in ("image_embeds", "text_embeds", "logits_per_image")}, out.logits_per_image[:1]


def attach(recorder, checkpoint):
    model = checkpoint.model
    vision, text = model.vision_model, model.text_model
    recorder.after(vision.embeddings, "vision.embed")
    if hasattr(vision, "pre_layrnorm"):
        recorder.derive("vision.embed", lambda sites: embedded(vision.embeddings, sites["vision.pixels"]))
        recorder.after(vision.pre_layrnorm, "vision.input")
        recorder.after(vision.post_layernorm, "vision.pooled")
        recorder.after(model.visual_projection, "vision.projected")
        projection = model.text_projection
    else:
        recorder.derive("vision.embed", lambda sites: embedded(vision.embeddings, sites["vision.pixels"]))
        recorder.after(vision.embeddings, "vision.input")
        recorder.after(vision.post_layernorm, "vision.final_norm")
        recorder.after(vision.head, "vision.pooled")
        recorder.alias("vision.projected", "vision.pooled")
        recorder.after(vision.head, "vision.pool.pattern")
        recorder.derive("vision.pool.pattern", lambda sites: pooling(vision.head, sites["vision.final_norm"]))
        projection = text.head
    recorder.embedding(text.embeddings.token_embedding, "text.embed")
    recorder.after(text.embeddings, "text.input")
    recorder.after(text.final_layer_norm, "text.final_norm")
    recorder.before(projection, "text.pooled")
    recorder.after(projection, "text.projected")
    for part, tower in (("vision", vision), ("text", text)):
        for i, block in enumerate(tower.encoder.layers):
            attn = block.self_attn
            heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.out_proj, attn.head_dim)
            mlp = Mlp(block.mlp.fc1, block.mlp.fc2, block.mlp.activation_fn)
            recorder.pre_norm(f"{part}.blocks.{i}", block, heads, mlp, block.layer_norm2, attn, block.mlp)


def pooling(head, x):
    """The pattern of SigLIP's pooling head, by hand from the fused projection."""
    attention, heads = head.attention, head.attention.num_heads
    q, k, _ = attention.in_proj_weight.chunk(3)
    bq, bk, _ = attention.in_proj_bias.chunk(3)
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
    query, key = split(head.probe.expand(len(x), -1, -1) @ q.T + bq), split(x @ k.T + bk)
    pattern = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1).detach()
    _, own = attention(head.probe.expand(len(x), -1, -1), x, x, average_attn_weights=False)
    close("pooling pattern", pattern, own, 2e-6)
    return pattern


def verify(checkpoint, batch, sites, recorder):
    """The library's own outputs, and the equations between sites."""
    model = checkpoint.model
    own = model(**batch.kwargs(), output_hidden_states=True, output_attentions=True)
    for name in ("image_embeds", "text_embeds", "logits_per_image"):
        close(name, sites[name], getattr(own, name), 2e-6)
    for part, seen in (("vision", own.vision_model_output), ("text", own.text_model_output)):
        equations.stream(part, sites, seen.hidden_states, seen.attentions)
    equations.blocks(recorder, sites)
    normal = lambda x: x / x.norm(dim=-1, keepdim=True)
    close("image_embeds", normal(sites["vision.projected"]), own.image_embeds)
    close("text_embeds", normal(sites["text.projected"]), own.text_embeds)
    logits = own.image_embeds @ own.text_embeds.T * model.logit_scale.exp()
    close("logits_per_image", logits + getattr(model, "logit_bias", 0.0), own.logits_per_image, 2e-6)

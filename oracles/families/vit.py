"""ViT as a classifier of pictures. A row is one picture without words; logits are [row 1 class], one position for each picture."""

import torch
from transformers import AutoImageProcessor, ViTForImageClassification

import verify as equations
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoImageProcessor.from_pretrained(folder, backend=backend), folder)


def prepare(checkpoint, rows):
    if any(len(row.get("images", ())) != 1 or {"ask", "prompt", "texts"} & set(row) for row in rows):
        raise SystemExit("a classifier sees one picture a row, and no words")
    images = [row["images"][0] for row in rows]
    made = checkpoint.processor(images=images, return_tensors="pt")
    return Batch(None, None, made["pixel_values"], counts=False)


def arguments(batch):
    return batch.kwargs()


def forward(model, given):
    logits = model(**given).logits
    return {"vision.logits": logits, "logits": logits[:, None]}, logits


def attach(recorder, checkpoint):
    vit = checkpoint.model.vit
    recorder.after(vit.embeddings, "vision.embed")
    recorder.derive("vision.embed", lambda sites: embed(vit.embeddings, sites["vision.pixels"]))
    recorder.after(vit.embeddings, "vision.input")
    for i, block in enumerate(vit.layers):
        attn = block.attention
        heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.o_proj, attn.head_dim)
        mlp = Mlp(block.mlp.fc1, block.mlp.fc2, block.mlp.activation_fn)
        recorder.pre_norm(f"vision.blocks.{i}", block, heads, mlp, block.layernorm_after, attn, block.mlp)
    recorder.after(vit.layernorm, "vision.final_norm")
    recorder.before(checkpoint.model.classifier, "vision.pooled")


def embed(embeddings, pixels):
    """The class token and the patches, before positions are added."""
    projection = embeddings.patch_embeddings.projection
    return torch.cat([embeddings.cls_token.expand(len(pixels), -1, -1), projection(pixels).flatten(2).transpose(1, 2)], 1)


def verify(checkpoint, batch, sites, recorder):
    model = checkpoint.model
    own = model(**batch.kwargs(), output_hidden_states=True, output_attentions=True)
    close("logits", sites["logits"][:, 0], own.logits)
    equations.stream("vision", sites, own.hidden_states, own.attentions)
    last = sites[f"vision.blocks.{len(model.vit.layers) - 1}.resid_post"]
    close("vision.final_norm", sites["vision.final_norm"], model.vit.layernorm(last))
    close("vision.pooled", sites["vision.pooled"], sites["vision.final_norm"][:, 0])
    embeddings = model.vit.embeddings
    size = embeddings.patch_size
    projection = embeddings.patch_embeddings.projection
    patches = torch.nn.functional.unfold(batch.pixel_values, size, stride=size).transpose(1, 2) @ projection.weight.flatten(1).T
    joined = torch.cat([embeddings.cls_token.expand(len(patches), -1, -1), patches + projection.bias], 1)
    close("vision.embed", sites["vision.embed"], joined)
    close("vision.input", sites["vision.input"], joined + embeddings.position_embeddings)
    close("vision.logits", sites["vision.logits"], model.classifier(sites["vision.pooled"]))
    equations.blocks(recorder, sites)

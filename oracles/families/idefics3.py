"""Idefics3 and SmolVLM: pictures in tiles, a SigLIP-like tower with positions by fraction, a pixel shuffle, LLaMA.

The pixel batch has one entry for each tile and whole picture, without those that fill up a batch.
"""

from dataclasses import dataclass, field, replace

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

import prompts
import verify as equations
from families.llava import decoder, decoder_agrees
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


@dataclass
class Tiled(Batch):
    """`whole` is what the processor makes, with its fill and its mask."""

    whole: dict = field(default_factory=dict)


def open(folder, backend="pil", **config):
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    own = model.model.get_image_features

    def features(pixel_values, pixel_attention_mask=None, **more):
        """Takes the entries one after the other, too."""
        return own(pixel_values if pixel_values.dim() == 5 else pixel_values[None], pixel_attention_mask, **more)

    model.model.get_image_features = features
    # Clips have a torchvision processor alone.
    processor = AutoProcessor.from_pretrained(folder)
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    return Checkpoint(model, processor, folder)


def prepare(checkpoint, rows):
    batch = prompts.prepare(checkpoint, rows, more=("pixel_attention_mask",), nested=True)
    batch = Tiled(**{name: getattr(batch, name) for name in Batch.__dataclass_fields__})
    mask = batch.more.pop("pixel_attention_mask", None)
    if batch.pixel_values is None:
        return batch
    real = mask.flatten(2).any(-1)
    assert mask[real].all(), "an entry that is partly padding"
    return replace(batch, pixel_values=batch.pixel_values[real], whole={"pixel_values": batch.pixel_values, "pixel_attention_mask": mask})


def attach(recorder, checkpoint):
    model = checkpoint.model.model
    tower = model.vision_model
    recorder.after(tower.embeddings.patch_embedding, "vision.embed", lambda x: x.flatten(2).transpose(1, 2))
    recorder.after(tower.embeddings, "vision.input")
    for i, block in enumerate(tower.encoder.layers):
        attn = block.self_attn
        heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.out_proj, attn.head_dim)
        mlp = Mlp(block.mlp.fc1, block.mlp.fc2, block.mlp.activation_fn)
        recorder.pre_norm(f"vision.blocks.{i}", block, heads, mlp, block.layer_norm2, attn, block.mlp)
    recorder.before(model.connector, "vision.features")
    recorder.after(model.connector, "connector.out")
    decoder(recorder, model.text_model)


def verify(checkpoint, batch, sites, recorder):
    model = checkpoint.model
    decoder_agrees(model, batch, sites)
    close("text.embed", sites["text.embed"], model.model.text_model.embed_tokens(batch.input_ids))
    if batch.pixel_values is not None:
        real = batch.attention_mask.bool()
        if batch.whole["pixel_values"].dtype == batch.pixel_values.dtype:
            own = model(**batch.passing() | batch.whole)
            close("logits with the processor's own fill and mask", sites["logits"][real], own.logits[real])
        tower_agrees(model.model.vision_model, batch.pixel_values, sites)
        holes = batch.input_ids == model.config.image_token_id
        close("image positions", sites["text.input"][holes], sites["connector.out"].flatten(0, 1))
        close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
        close("connector.out", sites["connector.out"], shuffled(model.model.connector, sites["vision.features"]))
    equations.blocks(recorder, sites)


def tower_agrees(tower, pixels, sites):
    seen = tower(pixels, output_hidden_states=True, output_attentions=True)
    equations.stream("vision", sites, seen.hidden_states, seen.attentions)
    depth = len(seen.attentions)
    close("vision.features", sites["vision.features"], tower.post_layernorm(sites[f"vision.blocks.{depth - 1}.resid_post"]))
    close("vision.features", sites["vision.features"], seen.last_hidden_state)


def shuffled(connector, features):
    """A square of patches becomes one position: rows from top to bottom, in each the patches from left to right, side by side."""
    s, (n, t, d) = connector.scale_factor, features.shape
    g = int(t**0.5)
    squares = features.view(n, g // s, s, g // s, s, d).transpose(2, 3).reshape(n, (g // s) ** 2, s * s * d)
    return squares @ connector.modality_projection.proj.weight.T

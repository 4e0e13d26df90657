"""LLaVA-NeXT: LLaVA whose tower sees every picture whole and in tiles. One entry of the pixel batch for each, without those that fill up a batch."""

from dataclasses import replace

import torch
from transformers import AutoProcessor, LlavaNextForConditionalGeneration
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

import prompts
import verify as equations
from families.llava import attach, decoder_agrees, tower_agrees
from passes import Checkpoint
from verify import close

__all__ = ["attach", "open", "prepare", "verify"]


def open(folder, backend="pil", **config):
    model = LlavaNextForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **config
    )
    return Checkpoint(model, AutoProcessor.from_pretrained(folder, backend=backend), folder)


def prepare(checkpoint, rows):
    batch = prompts.prepare(checkpoint, rows, more=("image_sizes",))
    if batch.pixel_values is None:
        return batch
    config = checkpoint.model.config
    side = config.vision_config.image_size
    counts = [image_size_to_num_patches(size, config.image_grid_pinpoints, side) for size in batch.more["image_sizes"]]
    tiles = torch.cat([tiles[:count] for tiles, count in zip(batch.pixel_values, counts)])
    return replace(batch, pixel_values=tiles)


def verify(checkpoint, batch, sites, recorder):
    model, config = checkpoint.model, checkpoint.model.config
    decoder_agrees(model, batch, sites)
    if batch.pixel_values is not None:
        tower_agrees(model.model.vision_tower, config, batch.pixel_values, sites)
        holes = batch.input_ids == config.image_token_id
        close("image positions", sites["text.input"][holes], equations.seen(model(**batch.passing()).image_hidden_states))
        close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
    equations.blocks(recorder, sites)

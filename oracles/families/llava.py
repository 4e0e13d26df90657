"""LLaVA 1.5: CLIP's tower or SigLIP's, a projector of two layers, LLaMA."""

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

import prompts
import verify as equations
from families.text import decoder, decoder_agrees
from passes import Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoProcessor.from_pretrained(folder, backend=backend), folder)


def prepare(checkpoint, rows):
    return prompts.prepare(checkpoint, rows)


def attach(recorder, checkpoint):
    model = checkpoint.model.model
    clip_tower(recorder, model.vision_tower)
    recorder.before(model.multi_modal_projector, "vision.features")
    recorder.after(model.multi_modal_projector, "connector.out")
    decoder(recorder, model.language_model)


def clip_tower(recorder, tower):
    """CLIP's vision tower, or SigLIP's, up to the output of its last block."""
    recorder.after(tower.embeddings, "vision.embed")
    recorder.derive("vision.embed", lambda sites: embedded(tower.embeddings, sites["vision.pixels"]))
    recorder.after(getattr(tower, "pre_layrnorm", tower.embeddings), "vision.input")
    for i, block in enumerate(tower.encoder.layers):
        attn = block.self_attn
        heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.out_proj, attn.head_dim)
        mlp = Mlp(block.mlp.fc1, block.mlp.fc2, block.mlp.activation_fn)
        recorder.pre_norm(f"vision.blocks.{i}", block, heads, mlp, block.layer_norm2, attn, block.mlp)


def embedded(embed, pixels):
    """The class token, where there is one, and the patches, before positions are added."""
    patches = embed.patch_embedding(pixels).flatten(2).transpose(1, 2)
    if not hasattr(embed, "class_embedding"):
        return patches
    return torch.cat([embed.class_embedding.expand(len(pixels), 1, -1), patches], 1)


def verify(checkpoint, batch, sites, recorder):
    model, config = checkpoint.model, checkpoint.model.config
    decoder_agrees(model, batch, sites)
    close("text.embed", sites["text.embed"], model.model.language_model.embed_tokens(batch.input_ids))
    if batch.pixel_values is not None:
        tower_agrees(model.model.vision_tower, config, batch.pixel_values, sites)
        own = model(**batch.passing())
        close("connector.out", sites["connector.out"].flatten(0, 1), equations.seen(own.image_hidden_states))
        holes = batch.input_ids == config.image_token_id
        close("image positions", sites["text.input"][holes], sites["connector.out"].flatten(0, 1))
        close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
    equations.blocks(recorder, sites)


def tower_agrees(tower, config, pixels, sites):
    """Embedding, hidden states, attentions and chosen features of the tower."""
    seen = tower(pixels, output_hidden_states=True, output_attentions=True)
    depth = config.vision_config.num_hidden_layers
    stream = [sites["vision.input"]] + [sites[f"vision.blocks.{i}.resid_post"] for i in range(depth)]
    assert len(seen.hidden_states) == depth + 1
    for i, x in enumerate(stream):
        close(f"vision hidden_states[{i}]", x, seen.hidden_states[i])
    for i in range(depth):
        close(f"vision attentions[{i}]", sites[f"vision.blocks.{i}.attn.pattern"], seen.attentions[i])
    embed = tower.embeddings
    patches = torch.nn.functional.unfold(pixels, embed.patch_size, stride=embed.patch_size).transpose(1, 2)
    joined = patches @ embed.patch_embedding.weight.flatten(1).T
    if hasattr(tower, "pre_layrnorm"):
        joined = torch.cat([embed.class_embedding.expand(len(pixels), 1, -1), joined], 1)
        close("vision.input", sites["vision.input"], tower.pre_layrnorm(joined + embed.position_embedding.weight))
    else:
        joined = joined + embed.patch_embedding.bias
        close("vision.input", sites["vision.input"], joined + embed.position_embedding.weight)
    close("vision.embed", sites["vision.embed"], joined)
    which = config.vision_feature_layer
    chosen = [stream[i] for i in ([which] if isinstance(which, int) else which)]
    if config.vision_feature_select_strategy == "default":
        chosen = [x[:, 1:] for x in chosen]
    close("vision.features", sites["vision.features"], torch.cat(chosen, -1))

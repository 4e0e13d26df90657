"""Builds the tiny random CLIP checkpoints of `fixtures/clip-*/model`.

    python oracles/tiny_clip.py [NAME ...] [--out DIR]

Widths, heads and patches differ wherever the architecture allows it.
"""

from common import write_json
from tiny_dual import arguments, clip_tokenizer, weights

import json

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


def assemble(folder, config, tokenizer, images, seed, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = CLIPModel(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    CLIPProcessor(CLIPImageProcessorPil(**images), tokenizer).save_pretrained(folder)


def clip_a(folder):
    """The end of a text is where its token first stands: padding is that token too, and a later token has a larger number."""
    tokenizer = clip_tokenizer(320)
    tokenizer.add_tokens(["<extra>"])
    ids = tokenizer.convert_tokens_to_ids
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer) + 3,
            "hidden_size": 24,
            "intermediate_size": 37,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "max_position_embeddings": 41,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-4,
            "bos_token_id": ids("<|startoftext|>"),
            "eos_token_id": ids("<|endoftext|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "hidden_size": 20,
            "intermediate_size": 27,
            "num_hidden_layers": 3,
            "num_attention_heads": 5,
            "patch_size": 6,
            "image_size": 24,
            "hidden_act": "quick_gelu",
        },
        projection_dim=14,
    )
    assemble(folder, config, tokenizer, {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}, 31)


def clip_b(folder):
    """The end of a text is its largest number; exact GELU, padding is `!`, bfloat16 in shards."""
    tokenizer = clip_tokenizer(300, pad="!")
    ids = tokenizer.convert_tokens_to_ids
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 18,
            "intermediate_size": 31,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 37,
            "hidden_act": "gelu",
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": ids("!"),
        },
        vision_config={
            "hidden_size": 28,
            "intermediate_size": 33,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 5,
            "image_size": 23,  # the patches leave a margin
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
        },
        projection_dim=22,
    )
    images = {"size": {"height": 23, "width": 23}, "do_center_crop": False, "resample": 2}
    assemble(folder, config, tokenizer, images, 32, torch.bfloat16, max_shard_size="20KB")


def in_two_files(folder):
    """The vocabulary as OpenAI gave it, without the steps of `tokenizer.json`."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    write_json(folder / "vocab.json", model["vocab"])
    merges = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n")
    (folder / "tokenizer.json").unlink()


def clip_old(folder):
    """A folder as on the hub since 2021: sparse settings in two places, buffers among the weights, older file names."""
    tokenizer = clip_tokenizer(310)
    ids = tokenizer.convert_tokens_to_ids
    text = {
        "hidden_size": 16,
        "intermediate_size": 29,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "eos_token_id": ids("<|endoftext|>"),
    }
    vision = {
        "hidden_size": 12,
        "image_size": 24,
        "intermediate_size": 35,
        "num_attention_heads": 3,
        "num_hidden_layers": 3,
        "patch_size": 8,
    }
    outer = {
        "architectures": ["CLIPModel"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": 10,
        # What the second dictionary says, and what it leaves out, goes before the first.
        "text_config": {"bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_size": 64, "model_type": "clip_text_model"},
        "text_config_dict": text,
        "torch_dtype": "float16",
        "vision_config": {"hidden_act": "gelu", "hidden_size": 64, "model_type": "clip_vision_model", "patch_size": 32},
        "vision_config_dict": vision,
    }
    write_json(folder / "config.json", outer)
    model = CLIPModel(CLIPConfig.from_pretrained(folder)).eval()
    weights(model, 33)
    state = {name: x.contiguous().clone() for name, x in model.to(torch.float16).state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    in_two_files(folder)
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": 24,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "size": 24,
        },
    )


VARIANTS = {"clip-a": clip_a, "clip-b": clip_b, "clip-old": clip_old}

if __name__ == "__main__":
    arguments(VARIANTS, lambda name, folder: VARIANTS[name](folder))

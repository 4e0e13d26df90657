"""Builds the tiny random Qwen-VL checkpoints of `fixtures/qwen*-vl-*/model`.

    python oracles/tiny_qwen_vl.py [NAME ...] [--out DIR]

All pictures are cut into patches of 4 or 2 pixels and merged two by two, so that a picture of 40 pixels has a few dozen
patches. The 5-frame clip (`clip-0` to `clip-4` of `pictures.py`) is 24x16, a multiple of both, and is not resized.
"""

import argparse
import json
import shutil
from pathlib import Path

from common import FIXTURES, normal, write_json

import torch
from safetensors.torch import save_file
from tiny_llava import byte_level
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
NAMED = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}

CHAT = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

GAINS = {"q_proj": 1.7, "k_proj": 1.7, "qkv": 1.6, "attn.proj": 1.5, "o_proj": 1.8, "down_proj": 2.5, "fc2": 1.5, "lm_head": 3.0}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    tied = model.config.tie_word_embeddings
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "norm" in name or "ln_q" in name:
                mean, std = 1.0, 0.3
            elif "embed_tokens" in name:
                mean, std = 0.0, 0.4 if tied else 1.0
            elif "pos_embed" in name:
                mean, std = 0.0, 0.7
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def tokenizer(size):
    trained = byte_level(size, SPECIALS, SPLIT)
    return trained, PreTrainedTokenizerFast(tokenizer_object=trained, padding_side="left", **NAMED)


def special_ids(trained):
    ids = trained.token_to_id
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


CLASSES = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor, Qwen2VLVideoProcessor),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Qwen3VLVideoProcessor),
}


def processors(folder, kind, fast, patch, pixels, **extra):
    """The processor as transformers 5 writes it. `pixels`: least and most of a picture; a clip may have as many a frame."""
    shared = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2} | extra
    size = {"shortest_edge": pixels[0], "longest_edge": pixels[1]}
    video = {"shortest_edge": pixels[0], "longest_edge": pixels[1] * 6}
    _, _, processor, clips = CLASSES[kind]
    processor(
        image_processor=Qwen2VLImageProcessorPil(size=size, **shared),
        tokenizer=fast,
        video_processor=clips(size=video, do_sample_frames=False, **shared),
        chat_template=CHAT,
    ).save_pretrained(folder)


def generation(folder, trained):
    ids = trained.token_to_id
    about = {"bos_token_id": ids("<|endoftext|>"), "pad_token_id": ids("<|endoftext|>"), "do_sample": False}
    write_json(folder / "generation_config.json", about | {"eos_token_id": [ids("<|im_end|>"), ids("<|endoftext|>")]})


def new(folder, kind, seed, vocab, patch, pixels, text, vision, dtype=torch.float32, extra=None, saving=None, **outer):
    """A checkpoint as transformers 5 saves it."""
    config_class, model_class, *_ = CLASSES[kind]
    trained, fast = tokenizer(vocab)
    text = {"vocab_size": trained.get_vocab_size(), "max_position_embeddings": 512, "initializer_range": 0.02} | text
    vision = {"patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2} | vision
    # `tie_word_embeddings` inside too: Qwen3's text model has a field of its own by that name.
    config = config_class(text_config=text, vision_config=vision, **special_ids(trained), **outer)
    config.dtype = str(dtype).removeprefix("torch.")
    model = model_class(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **(saving or {}))
    processors(folder, kind, fast, patch, pixels, **(extra or {}))
    generation(folder, trained)
    return model


def old(folder, kind, seed, vocab, patch, pixels, text, vision, top):
    """A checkpoint as the hub has it: text settings at the top, `visual.*` and `model.layers.*`, bfloat16 in two shards."""
    config_class, model_class, *_ = CLASSES[kind]
    trained, fast = tokenizer(vocab)
    flat = {
        "architectures": [model_class.__name__],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "model_type": kind,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "vocab_size": trained.get_vocab_size(),
    }
    write_json(folder / "config.json", flat | text | special_ids(trained) | top | {"vision_config": vision})
    model = model_class(config_class.from_pretrained(folder)).eval()
    weights(model, seed)
    tensors = {}
    for name, x in model.to(torch.bfloat16).state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        tensors[name] = x.contiguous().clone()
    names = sorted(tensors)
    half = len(names) // 2
    index = {}
    for i, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        index |= {n: file for n in part}
    total = sum(x.numel() * x.element_size() for x in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
    fast.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", settings | {"chat_template": CHAT, "tokenizer_class": "Qwen2Tokenizer"})
    write_json(folder / "chat_template.json", {"chat_template": CHAT})
    write_json(
        folder / "preprocessor_config.json",
        {
            "min_pixels": pixels[0],
            "max_pixels": pixels[1],
            "patch_size": patch,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": CLASSES[kind][2].__name__,
        },
    )
    generation(folder, trained)
    return model


def qwen2_vl_a(folder):
    """Three uneven rotary sections, one key head, four narrow tower heads, untied."""
    text = {
        "hidden_size": 28, "intermediate_size": 37, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-5, "rope_parameters": {"rope_type": "default", "rope_theta": 700.0, "mrope_section": [2, 1, 4]},
    }
    vision = {"depth": 3, "embed_dim": 16, "hidden_size": 28, "num_heads": 4, "mlp_ratio": 2, "hidden_act": "quick_gelu"}
    new(folder, "qwen2_vl", 41, 300, 4, (256, 640), text, vision)


def qwen2_vl_old(folder):
    """The layout of the hub: flat, sparse, tied, bfloat16 in shards."""
    text = {
        "hidden_size": 32, "intermediate_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "max_window_layers": 2, "sliding_window": 512, "use_sliding_window": False,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 2, "embed_dim": 16, "mlp_ratio": 3, "num_heads": 2, "in_chans": 3, "hidden_size": 32, "patch_size": 4,
              "spatial_merge_size": 2, "spatial_patch_size": 4, "temporal_patch_size": 2}
    old(folder, "qwen2_vl", 42, 290, 4, (256, 576), text, vision, {"tie_word_embeddings": True})


def qwen2_5_vl_a(folder):
    """Windows of two by two merged patches in two blocks out of three, untied."""
    text = {
        "hidden_size": 32, "intermediate_size": 41, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 900.0, "mrope_section": [2, 1, 1]},
    }
    vision = {"depth": 3, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 35, "window_size": 16,
              "fullatt_block_indexes": [1], "tokens_per_second": 3, "hidden_act": "silu"}
    new(folder, "qwen2_5_vl", 43, 300, 4, (256, 640), text, vision)


def qwen2_5_vl_old(folder):
    """The layout of the hub: flat, sparse, tied, bfloat16 in shards; windows of three by three merged patches of 4 pixels."""
    text = {
        "hidden_size": 24, "intermediate_size": 31, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 512, "max_window_layers": 2, "sliding_window": 512, "use_sliding_window": False,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [1, 3, 2]},
    }
    vision = {"depth": 3, "hidden_act": "silu", "hidden_size": 16, "intermediate_size": 23, "num_heads": 2, "in_chans": 3,
              "out_hidden_size": 24, "patch_size": 2, "spatial_merge_size": 2, "spatial_patch_size": 2, "window_size": 12,
              "fullatt_block_indexes": [2], "tokens_per_second": 2, "temporal_patch_size": 2}
    old(folder, "qwen2_5_vl", 44, 290, 2, (64, 384), text, vision, {"tie_word_embeddings": True})


def qwen3_vl_a(folder):
    """Interleaved sections, head width of its own, attention biases, two injections in three blocks, a 5x5 table of positions."""
    text = {
        "hidden_size": 20, "intermediate_size": 37, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-5, "attention_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 700.0, "mrope_section": [4, 2, 2], "mrope_interleaved": True},
    }
    vision = {"depth": 4, "hidden_size": 16, "out_hidden_size": 20, "num_heads": 2, "intermediate_size": 35,
              "num_position_embeddings": 25, "deepstack_visual_indexes": [0, 2], "hidden_act": "gelu_pytorch_tanh"}
    new(folder, "qwen3_vl", 45, 300, 4, (256, 640), text, vision)


def qwen3_vl_b(folder):
    """As the hub has it: bfloat16 in shards, tied; mergers in another order than their blocks, a 3x3 table of positions."""
    text = {
        "hidden_size": 24, "intermediate_size": 29, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 20, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0, "mrope_section": [4, 3, 3], "mrope_interleaved": True},
    }
    vision = {"depth": 3, "hidden_size": 16, "out_hidden_size": 24, "num_heads": 2, "intermediate_size": 23,
              "num_position_embeddings": 9, "deepstack_visual_indexes": [2, 0], "hidden_act": "gelu_pytorch_tanh"}
    colours = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    saving = {"max_shard_size": "40KB"}
    new(folder, "qwen3_vl", 46, 290, 2, (64, 384), text, vision, torch.bfloat16, colours, saving, tie_word_embeddings=True)
    # The hub writes rotary settings in the older words.
    config = json.loads((folder / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"] |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    write_json(folder / "config.json", config)


VARIANTS = {
    "qwen2-vl-a": qwen2_vl_a,
    "qwen2-vl-old": qwen2_vl_old,
    "qwen2.5-vl-a": qwen2_5_vl_a,
    "qwen2.5-vl-old": qwen2_5_vl_old,
    "qwen3-vl-a": qwen3_vl_a,
    "qwen3-vl-b": qwen3_vl_b,
}


def build(name, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    VARIANTS[name](folder)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or VARIANTS:
        folder = build(name, args.out / name / "model")
        size = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {size / 1024:.0f} KiB in {folder}")


if __name__ == "__main__":
    main()

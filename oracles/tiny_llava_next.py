"""Builds the tiny random LLaVA-NeXT checkpoints of `fixtures/llava-next-*/model`.

    python oracles/tiny_llava_next.py [NAME ...] [--out DIR]
"""

import tiny_llava as llava
from common import write_json

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil


def next_a(folder):
    """Mistral with grouped heads, one whole and up to three tiles, grids of unequal sides, other colour statistics."""
    tokenizer = llava.byte_level(310, ["<s>", "</s>", "<pad>", "<image>"], bos="<s>")
    ids = tokenizer.token_to_id
    text = MistralConfig(
        vocab_size=317,
        hidden_size=20,
        intermediate_size=33,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        sliding_window=None,
        rms_norm_eps=2e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 3000.0},
        max_position_embeddings=400,
        bos_token_id=ids("<s>"),
        eos_token_id=ids("</s>"),
    )
    vision = CLIPVisionConfig(
        hidden_size=18,
        intermediate_size=25,
        num_hidden_layers=3,
        num_attention_heads=3,
        patch_size=5,
        image_size=20,
        projection_dim=14,
    )
    pinpoints = [[20, 40], [40, 20], [60, 20], [20, 60]]
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids("<image>"),
        image_grid_pinpoints=pinpoints,
        image_seq_length=16,
    )
    config.dtype = "float32"
    model = LlavaNextForConditionalGeneration(config).eval()
    llava.weights(model, 21)
    model.save_pretrained(folder)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 20},
        crop_size={"height": 20, "width": 20},
        image_grid_pinpoints=pinpoints,
        image_mean=[0.2, 0.4, 0.6],
        image_std=[0.3, 0.25, 0.5],
    )
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **named)
    processor(images, fast, 5, llava.VICUNA).save_pretrained(folder)


def processor(images, tokenizer, patch, chat):
    return LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat,
    )


def next_old(folder):
    """The key names and sparse configuration files of the hub's first LLaVA-NeXT checkpoints, in bfloat16: LLaMA, square and long grids."""
    tokenizer = llava.sentence_piece(340, ["<image>", "<pad>"])
    ids = tokenizer.token_to_id
    pinpoints = [[18, 36], [36, 18], [36, 36], [54, 18], [18, 54]]
    config = {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "ignore_index": -100,
        "image_grid_pinpoints": pinpoints,
        "image_token_index": ids("<image>"),
        "model_type": "llava_next",
        "pad_token_id": ids("<pad>"),
        "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 24,
            "intermediate_size": 31,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "max_position_embeddings": 400,
            "rms_norm_eps": 1e-05,
            "torch_dtype": "bfloat16",
            "vocab_size": 344,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_image_newline_parameter": True,
        "vision_config": {
            "hidden_size": 16,
            "image_size": 18,
            "intermediate_size": 29,
            "model_type": "clip_vision_model",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "patch_size": 6,
            "projection_dim": 12,
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    write_json(folder / "config.json", config)
    model = LlavaNextForConditionalGeneration(LlavaNextConfig.from_pretrained(folder)).eval()
    llava.weights(model, 22)
    old = {}
    for name, x in model.to(torch.bfloat16).state_dict().items():
        name = name.removeprefix("model.")
        for new, was in (
            ("language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
            ("vision_tower.", "vision_tower.vision_model."),
        ):
            if name.startswith(new):
                name = was + name.removeprefix(new)
                break
        old[name] = x.contiguous().clone()
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "bos_token": "<s>",
            "chat_template": llava.VICUNA,
            "eos_token": "</s>",
            "legacy": False,
            "pad_token": "<pad>",
            "padding_side": "left",
            "processor_class": "LlavaNextProcessor",
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "aspect_ratio_setting": "anyres",
            "crop_size": {"height": 18, "width": 18},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_grid_pinpoints": pinpoints,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "LlavaNextImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "processor_class": "LlavaNextProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 18},
        },
    )
    write_json(
        folder / "processor_config.json",
        {
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 6,
            "processor_class": "LlavaNextProcessor",
            "vision_feature_select_strategy": "default",
        },
    )


if __name__ == "__main__":
    llava.main({"llava-next-a": next_a, "llava-next-old": next_old}, __doc__)

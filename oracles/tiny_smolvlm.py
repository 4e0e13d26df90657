"""Builds the tiny random SmolVLM and Idefics3 checkpoints of `fixtures/smolvlm-*/model` and `fixtures/idefics3-*/model`.

    python oracles/tiny_smolvlm.py [NAME ...] [--out DIR]
"""

import tiny_llava as llava
from common import write_json

import torch
from safetensors.torch import save_file
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

# The hub's, which puts no colon before a picture's own.
CHAT = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% elif line['type'] == 'video' %}{{ '<video>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
AROUND = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
# Rows and columns beyond these are written in bytes.
TILES = ["<global-img>"] + [f"<row_{row}_col_{col}>" for row in (1, 2, 3) for col in (1, 2)]


def smolvlm_a(folder):
    """Tiles of 16 pixels where positions were learned for pictures of 20; grouped heads; other colour statistics."""
    tokenizer = llava.byte_level(330, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + AROUND + TILES)
    ids = tokenizer.token_to_id
    text = LlamaConfig(
        vocab_size=337,
        hidden_size=20,
        intermediate_size=35,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=2e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 3000.0},
        max_position_embeddings=400,
        bos_token_id=ids("<|im_start|>"),
        eos_token_id=ids("<end_of_utterance>"),
        pad_token_id=ids("<|im_end|>"),
    )
    vision = SmolVLMVisionConfig(
        hidden_size=12,
        intermediate_size=27,
        num_hidden_layers=2,
        num_attention_heads=3,
        patch_size=4,
        image_size=20,
        layer_norm_eps=1e-5,
    )
    config = SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=ids("<image>"), scale_factor=2)
    config.dtype = "float32"
    model = SmolVLMForConditionalGeneration(config).eval()
    llava.weights(model, 31)
    model.save_pretrained(folder)
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 32},
        max_image_size={"longest_edge": 16},
        image_mean=[0.2, 0.4, 0.6],
        image_std=[0.3, 0.25, 0.5],
    )
    videos = SmolVLMVideoProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, num_frames=8, fps=1)
    named = {"bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>"}
    extra = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", extra_special_tokens=extra, **named)
    SmolVLMProcessor(
        image_processor=images, tokenizer=fast, video_processor=videos, image_seq_len=4, chat_template=CHAT
    ).save_pretrained(folder)


def idefics3_a(folder):
    """Tiles of 19 pixels, one of them beyond the last patch of 3, more patches than learned positions; a shuffle by 3; one head of
    keys for all; tied embeddings; in bfloat16 shards."""
    tokenizer = llava.byte_level(320, ["<|begin|>", "<|end|>", "<pad>"] + AROUND + TILES, bos="<|begin|>")
    ids = tokenizer.token_to_id
    text = LlamaConfig(
        vocab_size=320,
        hidden_size=20,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=6,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 900.0,
            "factor": 3.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 3.0,
            "original_max_position_embeddings": 40,
        },
        max_position_embeddings=300,
        attention_bias=True,
        bos_token_id=ids("<|begin|>"),
        eos_token_id=ids("<end_of_utterance>"),
        pad_token_id=ids("<pad>"),
        tie_word_embeddings=True,
    )
    vision = Idefics3VisionConfig(
        hidden_size=16,
        intermediate_size=29,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=3,
        image_size=15,
        hidden_act="gelu",
    )
    config = Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=ids("<image>"), scale_factor=3, tie_word_embeddings=True
    )
    config.dtype = "bfloat16"
    model = Idefics3ForConditionalGeneration(config).eval()
    llava.weights(model, 32)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    images = Idefics3ImageProcessorPil(size={"longest_edge": 30}, max_image_size={"longest_edge": 19}, resample=3)
    named = {"bos_token": "<|begin|>", "eos_token": "<end_of_utterance>", "pad_token": "<pad>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **named)
    Idefics3Processor(image_processor=images, tokenizer=fast, image_seq_len=4, chat_template=CHAT.replace("<|im_start|>", "")).save_pretrained(folder)


def smolvlm_old(folder):
    """The sparse configuration files of the hub's checkpoints, in float16; pictures are not split."""
    tokenizer = llava.byte_level(310, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + AROUND + TILES[:1])
    ids = tokenizer.token_to_id
    config = {
        "architectures": ["SmolVLMForConditionalGeneration"],
        "image_seq_len": 9,
        "image_token_id": ids("<image>"),
        "model_type": "smolvlm",
        "pad_token_id": ids("<|im_end|>"),
        "scale_factor": 2,
        "text_config": {
            "_flash_attn_2_enabled": True,
            "architectures": ["VLlama3ForCausalLM"],
            "head_dim": 6,
            "hidden_size": 18,
            "intermediate_size": 31,
            "is_llama_config": True,
            "max_position_embeddings": 200,
            "model_type": "llama",
            "num_attention_heads": 3,
            "num_hidden_layers": 2,
            "num_key_value_heads": 3,
            "perceiver_config": {"model_type": "vllama3"},
            "pixel_shuffle_factor": 2,
            "qk_layer_norms": False,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_theta": 5000,
            "torch_dtype": "float16",
            "use_resampler": False,
            "vocab_size": 310,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        "use_reentrant_checkpointing": False,
        "vision_config": {
            "hidden_size": 12,
            "image_size": 24,
            "intermediate_size": 21,
            "max_image_size": {"longest_edge": 24},
            "model_type": "smolvlm_vision",
            "num_attention_heads": 3,
            "num_hidden_layers": 2,
            "patch_size": 4,
            "size": {"longest_edge": 96},
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "use_base_siglip": False,
        },
        "vocab_size": 310,
    }
    write_json(folder / "config.json", config)
    model = SmolVLMForConditionalGeneration(SmolVLMConfig.from_pretrained(folder)).eval()
    llava.weights(model, 33)
    names = model.state_dict()
    assert {n.split(".")[0] + "." + n.split(".")[1] for n in names} == {"model.vision_model", "model.connector", "model.text_model", "lm_head.weight"}
    model.to(torch.float16)
    save_file({n: x.contiguous().clone() for n, x in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "additional_special_tokens": AROUND,
            "bos_token": "<|im_start|>",
            "clean_up_tokenization_spaces": False,
            "end_of_utterance_token": "<end_of_utterance>",
            "eos_token": "<end_of_utterance>",
            "extra_special_tokens": {
                "end_of_utterance_token": "<end_of_utterance>",
                "fake_image_token": "<fake_token_around_image>",
                "global_image_token": "<global-img>",
                "image_token": "<image>",
            },
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "image_token": "<image>",
            "legacy": False,
            "pad_token": "<|im_end|>",
            "processor_class": "SmolVLMProcessor",
            "tokenizer_class": "GPT2Tokenizer",
            "truncation_side": "left",
            "unk_token": "<|endoftext|>",
            "vocab_size": 310,
        },
    )
    write_json(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": ids("<end_of_utterance>")})
    write_json(folder / "chat_template.json", {"chat_template": CHAT})
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": True,
            "do_image_splitting": False,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "SmolVLMImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_image_size": {"longest_edge": 24},
            "processor_class": "SmolVLMProcessor",
            "resample": 1,
            "rescale_factor": 0.00392156862745098,
            "size": {"longest_edge": 96},
            "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 24}},
        },
    )
    write_json(folder / "processor_config.json", {"image_seq_len": 9, "processor_class": "SmolVLMProcessor"})


VARIANTS = {"smolvlm-a": smolvlm_a, "smolvlm-old": smolvlm_old, "idefics3-a": idefics3_a}

if __name__ == "__main__":
    llava.main(VARIANTS, __doc__)

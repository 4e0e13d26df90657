"""Builds the tiny random BLIPs of `fixtures/blip-*/model`.

    python oracles/tiny_blip.py [NAME ...] [--out DIR]
"""

from common import normal, write_json
from tiny_bert import lines, pieces
from tiny_dual import arguments

import torch
from safetensors.torch import save_file
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    BlipProcessor,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

GAINS = {"qkv": 1.7, "query": 1.7, "key": 1.7, "projection": 1.5, "output.dense": 1.4, "fc2": 1.5, "transform.dense": 1.4, "itm_head": 2.0}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "LayerNorm" in name or "layer_norm" in name or "layernorm" in name:
                mean, std = 1.0, 0.3
            elif "word_embeddings" in name or "class_embedding" in name:
                mean, std = 0.0, 1.0
            elif "position_embedding" in name:
                mean, std = 0.0, 0.5
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def config_of(vocab, text, vision, **outer):
    ids = {"bos_token_id": vocab["[DEC]"], "sep_token_id": vocab["[SEP]"], "pad_token_id": 0, "eos_token_id": 2}
    return BlipConfig(text_config={"vocab_size": len(vocab) + 1} | ids | text, vision_config=vision, image_text_hidden_size=11, **outer)


def assemble(folder, kind, config, vocab, images, seed, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = kind(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    tokenizer = BertTokenizer(vocab=vocab, model_max_length=40, bos_token="[DEC]", additional_special_tokens=["[ENC]"])
    BlipProcessor(BlipImageProcessorPil(**images), tokenizer).save_pretrained(folder)
    return model


def blip_a(folder):
    """Captions; a tower wider than the text, three blocks of either."""
    vocab = pieces(190, more=["[DEC]", "[ENC]"])
    text = {"hidden_size": 20, "intermediate_size": 31, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 80}
    vision = {"hidden_size": 24, "intermediate_size": 29, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 24, "patch_size": 6}
    config = config_of(vocab, text | {"layer_norm_eps": 1e-5}, vision)
    assemble(folder, BlipForConditionalGeneration, config, vocab, {"size": {"height": 24, "width": 24}}, 61)


def blip_qa(folder):
    """Questions and answers; bfloat16 in shards, other nonlinearities, a margin."""
    vocab = pieces(185, more=["[DEC]", "[ENC]"])
    text = {"hidden_size": 24, "intermediate_size": 19, "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 80}
    vision = {"hidden_size": 24, "intermediate_size": 23, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 23, "patch_size": 5}
    config = config_of(vocab, text | {"hidden_act": "gelu_new"}, vision | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-4})
    images = {"size": {"height": 23, "width": 23}, "resample": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}
    assemble(folder, BlipForQuestionAnswering, config, vocab, images, 62, torch.bfloat16, max_shard_size="60KB")


def blip_itm(folder):
    """Matches, with the heads of the cosine beside."""
    vocab = pieces(180, more=["[DEC]", "[ENC]"])
    text = {"hidden_size": 18, "intermediate_size": 25, "num_hidden_layers": 3, "num_attention_heads": 3, "max_position_embeddings": 38}
    vision = {"hidden_size": 20, "intermediate_size": 21, "num_hidden_layers": 2, "num_attention_heads": 5, "image_size": 28, "patch_size": 7}
    config = config_of(vocab, text, vision)
    assemble(folder, BlipForImageTextRetrieval, config, vocab, {"size": {"height": 28, "width": 28}}, 63)


def blip_old(folder):
    """Captions, as on the hub since 2022: float16, buffers and both biases among the weights, a sparse config, a vocabulary of lines."""
    vocab = pieces(175, more=["[DEC]", "[ENC]"])
    text = {
        "vocab_size": len(vocab), "hidden_size": 16, "intermediate_size": 19, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 72, "bos_token_id": vocab["[DEC]"], "sep_token_id": vocab["[SEP]"], "model_type": "blip_text_model",
        "encoder_hidden_size": 768,
    }  # fmt: skip
    vision = {
        "hidden_size": 12, "intermediate_size": 17, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 24, "patch_size": 8,
        "model_type": "blip_vision_model",
    }  # fmt: skip
    outer = {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip", "torch_dtype": "float16", "projection_dim": 512}
    write_json(folder / "config.json", outer | {"text_config": text, "vision_config": vision})
    model = BlipForConditionalGeneration(BlipConfig.from_pretrained(folder)).eval()
    weights(model, 64)
    state = {name: x.contiguous().clone() for name, x in model.to(torch.float16).state_dict().items()}
    state["text_decoder.bert.embeddings.position_ids"] = torch.arange(72)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    lines(folder, vocab)
    named = {"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]}
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"} | named)
    images = {
        "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "BlipImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "BlipProcessor",
        "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"height": 24, "width": 24}, "size_divisor": 32,
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", images)


VARIANTS = {"blip-a": blip_a, "blip-qa": blip_qa, "blip-itm": blip_itm, "blip-old": blip_old}

if __name__ == "__main__":
    arguments(VARIANTS, lambda name, folder: VARIANTS[name](folder))

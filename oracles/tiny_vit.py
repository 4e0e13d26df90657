"""Builds the tiny random ViT classifiers of `fixtures/vit-*/model`.

    python oracles/tiny_vit.py [NAME ...] [--out DIR]
"""

from common import normal, write_json
from tiny_dual import arguments

import torch
from safetensors.torch import save_file
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

GAINS = {"q_proj": 1.7, "k_proj": 1.7, "o_proj": 1.5, "fc2": 1.5, "classifier": 2.0}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "layernorm" in name:
                mean, std = 1.0, 0.3
            elif "cls_token" in name:
                mean, std = 0.0, 1.0
            elif "position_embeddings" in name:
                mean, std = 0.0, 0.5
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def assemble(folder, config, images, seed, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = ViTForImageClassification(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    ViTImageProcessorPil(**images).save_pretrained(folder)


SHAPES = ["red circle", "blue square", "Größe, 円", "green triangle", "yellow star", "blue square", "ring"]


def vit_a(folder):
    """Biases everywhere, exact GELU, labels of which two are the same; named as version 5 saves."""
    config = ViTConfig(
        hidden_size=20, intermediate_size=27, num_hidden_layers=3, num_attention_heads=5, image_size=24, patch_size=6, layer_norm_eps=1e-6,
        id2label=dict(enumerate(SHAPES)), label2id={label: i for i, label in enumerate(SHAPES)},
    )  # fmt: skip
    assemble(folder, config, {"size": {"height": 24, "width": 24}}, 41)


def vit_b(folder):
    """No biases of queries, keys and values, tanh GELU, a margin, other statistics and filter; bfloat16 shards under the names of memory."""
    config = ViTConfig(
        hidden_size=28, intermediate_size=33, num_hidden_layers=2, num_attention_heads=4, image_size=23, patch_size=5, qkv_bias=False,
        hidden_act="gelu_pytorch_tanh", num_labels=3,
    )  # fmt: skip
    images = {"size": {"height": 23, "width": 23}, "resample": 3, "image_mean": [0.48, 0.45, 0.4], "image_std": [0.22, 0.23, 0.25], "do_convert_rgb": True}
    assemble(folder, config, images, 42, torch.bfloat16, max_shard_size="20KB", save_original_format=False)


def vit_old(folder):
    """A folder as on the hub since 2021: a sparse config without labels (so two), a number as size, the pooler that no class depends on."""
    config = {
        "architectures": ["ViTForImageClassification"], "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "hidden_size": 18, "image_size": 30, "initializer_range": 0.02, "intermediate_size": 31, "layer_norm_eps": 1e-12, "model_type": "vit",
        "num_attention_heads": 3, "num_channels": 3, "num_hidden_layers": 2, "patch_size": 10,
    }  # fmt: skip
    write_json(folder / "config.json", config)
    model = ViTForImageClassification(ViTConfig.from_pretrained(folder)).eval()
    weights(model, 43)
    names = {
        "vit.layers.": "vit.encoder.layer.", ".attention.q_proj.": ".attention.attention.query.", ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.", ".attention.o_proj.": ".attention.output.dense.", ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
    }  # fmt: skip
    state = {}
    for name, x in model.to(torch.float16).state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        state[name] = x.contiguous().clone()
    state["vit.pooler.dense.weight"] = torch.zeros(18, 18, dtype=torch.float16)
    state["vit.pooler.dense.bias"] = torch.zeros(18, dtype=torch.float16)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    images = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor", "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": 30,
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", images)


VARIANTS = {"vit-a": vit_a, "vit-b": vit_b, "vit-old": vit_old}

if __name__ == "__main__":
    arguments(VARIANTS, lambda name, folder: VARIANTS[name](folder))

"""Builds the tiny random LLaVA checkpoints of `fixtures/llava-*/model`.

    python oracles/tiny_llava.py [NAME ...] [--out DIR]

Every width differs from every other wherever the architecture allows it, norms and biases are far from their defaults, and
attention is far from uniform, so that a transposed matrix, a forgotten bias or a wrong head count cannot pass unnoticed.
"""

import argparse
import json
import shutil
from pathlib import Path

from common import FIXTURES, normal, rng, write_json

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPVisionConfig,
    Gemma2Config,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

TEXT = [
    "USER: What colour is the square left of the circle? ASSISTANT: The square is red.",
    "How many triangles are there? There are three triangles, two of them blue.",
    "Is there a green star above the yellow ring? Yes, there is. No, there is not.",
    "Describe the picture. A small purple cross stands between two large shapes.",
    "Which shape is the largest, and where is it in the image? The answer is: the circle, at the top.",
    "Où est le cercle ? Il est à gauche du carré. ¿Dónde está la estrella? Größer als das Dreieck.",
    "円は赤いです。四角は青いです。 Что находится слева? Красный квадрат. 😀",
]

VICUNA = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + (eos_token if message['role'] == 'assistant' else ' ') }}"
    "{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

HEADERS = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] | trim }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'image' %}
                {{- '<image>' }}
            {%- elif part['type'] == 'text' %}
                {{- part['text'] | trim }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""

PLAIN = """\
{% for message in messages %}
{% set ns = namespace(text='', pictures=0) %}
{% for part in message['content'] %}
{% if part['type'] == 'image' %}
{% set ns.pictures = ns.pictures + 1 %}
{% else %}
{% set ns.text = ns.text + part['text'] %}
{% endif %}
{% endfor %}
{{ '<image>' * ns.pictures }}### {{ message['role'] | capitalize }}: {{ ns.text.strip() }}
{% endfor %}
{% if add_generation_prompt %}
### Assistant:
{%- endif %}
"""


def byte_level(size, specials, split=None, bos=None):
    """GPT-2's scheme; with `split`, the pre-tokenizer that Llama 3 uses."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=split is not None))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    if split is None:
        tokenizer.pre_tokenizer = bytes_
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(specials),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def sentence_piece(size, specials):
    """Llama 2's scheme: `▁` for spaces, byte fallback, one merge table."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    head = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    alphabet = sorted({c for c in "".join(TEXT[:5]) if c != " "} | {"▁", "é", "à"})
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(specials),
        special_tokens=head,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    trained.train_from_iterator(TEXT[:5], trainer)
    # Trained special tokens become added tokens; only the three real ones may be matched inside text.
    state = json.loads(trained.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in ("<unk>", "<s>", "</s>")]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer  # without a post-processor, so without a BOS: `add_bos_token` of tokenizer_config.json has no say beside this file


GAINS = {"q_proj": 1.7, "k_proj": 1.7, "out_proj": 1.5, "o_proj": 1.8, "down_proj": 2.5, "fc2": 1.5, "lm_head": 3.0}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "norm" in name or "layrnorm" in name:
                mean, std = 1.0, 0.3
            elif "embed_tokens" in name:
                # Tied rows must stay small, or every position would predict its own token.
                mean, std = 0.0, 0.4 if model.config.tie_word_embeddings else 1.0
            elif "class_embedding" in name:
                mean, std = 0.0, 1.0
            elif "position_embedding" in name:
                mean, std = 0.0, 0.5
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def assemble(folder, config, tokenizer, images, chat, seed, dtype, extra_tokens=None, pictures=CLIPImageProcessorPil, class_tokens=1, **saving):
    """Model, processor and generation settings, each written by its own `save_pretrained`."""
    config.dtype = str(dtype).removeprefix("torch.")
    model = LlavaForConditionalGeneration(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **(extra_tokens or {}))
    LlavaProcessor(
        image_processor=pictures(**images),
        tokenizer=fast,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=class_tokens,
        chat_template=chat,
    ).save_pretrained(folder)
    return model


def llava_a(folder):
    """Grouped keys and values, biases everywhere, the class token dropped, the second-to-last vision layer."""
    tokenizer = byte_level(320, ["<s>", "</s>", "<pad>", "<image>"], bos="<s>")
    ids = tokenizer.token_to_id
    text = LlamaConfig(
        vocab_size=331,  # more rows than the tokenizer has tokens, as on the hub
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=6,  # not hidden / heads
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        attention_bias=True,
        mlp_bias=True,
        max_position_embeddings=160,
        bos_token_id=ids("<s>"),
        eos_token_id=ids("</s>"),
        pad_token_id=ids("<pad>"),
    )
    vision = CLIPVisionConfig(
        hidden_size=20,
        intermediate_size=27,
        num_hidden_layers=4,
        num_attention_heads=5,
        patch_size=6,
        image_size=30,
        projection_dim=16,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-4,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=ids("<image>"), image_seq_length=25)
    images = {"size": {"shortest_edge": 30}, "crop_size": {"height": 30, "width": 30}}
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    assemble(folder, config, tokenizer, images, VICUNA, 11, torch.float32, named)


STOP = 249


def llava_b(folder):
    """Every head its own keys, no biases, the class token kept, tied embeddings, `llama3` rotary scaling, bfloat16 in shards."""
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = byte_level(330, ["<|bos|>", "<|start|>", "<|end|>", "<|eot|>", "<image>"], split, bos="<|bos|>")
    ids = tokenizer.token_to_id
    text = LlamaConfig(
        vocab_size=330,
        hidden_size=20,
        intermediate_size=41,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        rms_norm_eps=3e-6,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 700.0,
            "factor": 3.7,
            "low_freq_factor": 0.8,
            "high_freq_factor": 3.1,
            "original_max_position_embeddings": 24,
        },
        max_position_embeddings=160,
        bos_token_id=ids("<|bos|>"),
        eos_token_id=ids("<|eot|>"),
        tie_word_embeddings=True,
    )
    vision = CLIPVisionConfig(
        hidden_size=18,
        intermediate_size=31,
        num_hidden_layers=3,
        num_attention_heads=3,
        patch_size=5,
        image_size=20,
        projection_dim=14,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids("<image>"),
        image_seq_length=17,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        projector_hidden_act="gelu_pytorch_tanh",
        multimodal_projector_bias=False,
        tie_word_embeddings=True,
    )
    images = {"size": {"height": 20, "width": 20}, "do_center_crop": False, "resample": 2}
    named = {"bos_token": "<|bos|>", "eos_token": "<|eot|>"}
    assemble(
        folder, config, tokenizer, images, HEADERS, 12, torch.bfloat16, named,
        max_shard_size="20KB", save_original_format=False,
    )
    # Two end tokens, one of them known to generation alone, as Llama 3 has. The second occurs early in one of the traces.
    GenerationConfig(bos_token_id=ids("<|bos|>"), eos_token_id=[ids("<|eot|>"), STOP]).save_pretrained(folder)


def llava_multi(folder):
    """Two vision layers side by side, one key head for all queries, a picture that the patches do not fill, odd colour statistics."""
    tokenizer = byte_level(290, ["<s>", "</s>", "<image>"])  # no post-processor: nothing is put before the text
    ids = tokenizer.token_to_id
    text = LlamaConfig(
        vocab_size=290,
        hidden_size=16,
        intermediate_size=29,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=10,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_bias=True,
        max_position_embeddings=160,
        bos_token_id=ids("<s>"),
        eos_token_id=ids("</s>"),
    )
    vision = CLIPVisionConfig(
        hidden_size=14,
        intermediate_size=23,
        num_hidden_layers=3,
        num_attention_heads=2,
        patch_size=7,
        image_size=23,  # three patches a side, two rows and columns of pixels left over
        projection_dim=12,
        hidden_act="quick_gelu",
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids("<image>"),
        image_seq_length=9,
        vision_feature_layer=[-1, 1],
        projector_hidden_act="quick_gelu",
    )
    images = {
        "size": {"shortest_edge": 26},
        "crop_size": {"height": 23, "width": 23},
        "image_mean": [0.1, 0.5, 0.75],
        "image_std": [0.3, 0.2, 0.6],
    }
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    assemble(folder, config, tokenizer, images, PLAIN, 13, torch.float32, named)


def llava_siglip(folder):
    """SigLIP's tower, whose patches are all read, before Gemma 2 with a window; nothing to pad with; the cap on logits is not LLaVA's."""
    tokenizer = byte_level(300, ["<bos>", "<eos>", "<image>"], bos="<bos>")
    ids = tokenizer.token_to_id
    text = Gemma2Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=27,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        query_pre_attn_scalar=9,
        sliding_window=7,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=2.0,
        max_position_embeddings=160,
        bos_token_id=ids("<bos>"),
        eos_token_id=ids("<eos>"),
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    vision = SiglipVisionConfig(
        hidden_size=18,
        intermediate_size=25,
        num_hidden_layers=3,
        num_attention_heads=3,
        patch_size=5,
        image_size=16,  # three patches a side, a row and a column of pixels left over
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids("<image>"),
        image_seq_length=9,
        vision_feature_layer=[-1, -2],
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    images = {"size": {"height": 16, "width": 16}}
    named = {"bos_token": "<bos>", "eos_token": "<eos>"}
    assemble(folder, config, tokenizer, images, VICUNA, 15, torch.float32, named, SiglipImageProcessorPil, class_tokens=0)


def llava_old(folder):
    """The key names and sparse configuration files of the hub's first LLaVA checkpoints, in float16."""
    tokenizer = sentence_piece(352, ["<image>", "<pad>"])
    ids = tokenizer.token_to_id
    text = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 24,
        "intermediate_size": 35,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "max_position_embeddings": 160,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"type": "linear", "factor": 2.5},
        "torch_dtype": "float16",
        "vocab_size": 360,
    }
    vision = {
        "hidden_size": 20,
        "image_size": 24,
        "intermediate_size": 33,
        "model_type": "clip_vision_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "patch_size": 6,
        "projection_dim": 16,
        "vocab_size": 32000,
    }
    outer = {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": ids("<image>"),
        "model_type": "llava",
        "pad_token_id": ids("<pad>"),
        "projector_hidden_act": "gelu",
        "text_config": text,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "vision_config": vision,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    write_json(folder / "config.json", outer)
    model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(folder)).eval()
    weights(model, 14)
    old = {}
    for name, x in model.to(torch.float16).state_dict().items():
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
    # Buffers that were once saved and must be skipped in silence.
    positions = (24 // 6) ** 2 + 1
    old["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    for i in range(2):
        frequencies = 1.0 / (10000.0 ** (torch.arange(0, 6, 2).float() / 6))
        old[f"language_model.model.layers.{i}.self_attn.rotary_emb.inv_freq"] = frequencies
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2})

    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "chat_template": VICUNA,
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "legacy": False,
            "model_max_length": 1000000000000000019884624838656,
            "pad_token": "<pad>",
            "padding_side": "left",
            "processor_class": "LlavaProcessor",
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        },
    )
    write_json(folder / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})
    write_json(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": 24, "width": 24},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "processor_class": "LlavaProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 24},
        },
    )
    write_json(
        folder / "processor_config.json",
        {
            "image_token": "<image>",
            "num_additional_image_tokens": 1,
            "patch_size": 6,
            "processor_class": "LlavaProcessor",
            "vision_feature_select_strategy": "default",
        },
    )


VARIANTS = {"llava-a": llava_a, "llava-b": llava_b, "llava-multi": llava_multi, "llava-siglip": llava_siglip, "llava-old": llava_old}


def main(variants=VARIANTS, about=__doc__):
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(variants))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or variants:
        folder = args.out / name / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        variants[name](folder)
        size = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {size / 1024:.0f} KiB in {folder}")


if __name__ == "__main__":
    main()

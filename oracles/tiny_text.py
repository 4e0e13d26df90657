"""Builds the tiny random language models of `fixtures/{gpt2,llama,mistral,qwen2,qwen3,gemma2}-*/model`.

    python oracles/tiny_text.py [NAME ...] [--out DIR]

Windows are shorter than the prompts, soft caps lie within the range of the scores, widths differ wherever they may.
"""

import argparse
import json
import shutil
from pathlib import Path

from common import FIXTURES, normal, write_json

import torch
from safetensors.torch import save_file
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from tiny_llava import byte_level, sentence_piece

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
END = "<|im_end|>"

CHATML = (
    "{%- if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token + ' ' }}{% endif %}{% endfor %}"
)
TURNS = (
    "{{ bos_token }}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

GAINS = {
    "q_proj": 2.0, "k_proj": 2.0, "c_attn": 1.5, "o_proj": 1.8, "attn.c_proj": 1.8, "down_proj": 2.5, "mlp.c_proj": 2.0, "lm_head": 3.0,
}  # fmt: skip


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    gemma = model.config.model_type == "gemma2"
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "norm" in name or "ln_" in name:
                mean, std = 0.0 if gemma else 1.0, 0.3
            elif "embed_tokens" in name or "wte" in name:
                mean, std = 0.0, 0.4 if model.config.tie_word_embeddings else 1.0
            elif "wpe" in name:
                mean, std = 0.0, 0.3
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                into = p.shape[0] if ".c_" in name else p.shape[1]  # GPT-2 keeps [in, out]
                mean, std = 0.0, gain / into**0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def bos_first(tokenizer, bos):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def tokens(folder, tokenizer, kind, chat=None, **named):
    """Tokenizer files as on the hub: `tokenizer.json`, and a config that names a class."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "model_max_length": 96, "clean_up_tokenization_spaces": False} | named
    write_json(folder / "tokenizer_config.json", settings | ({"chat_template": chat} if chat else {}))


def assemble(folder, config, seed, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = AutoModelForCausalLM.from_config(config).eval().float()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    return model


def gpt2_a(folder):
    """Scores divided by the block's number too; an MLP of its own width; names with the prefix."""
    tokenizer = byte_level(267, ["<|endoftext|>"])
    end = tokenizer.token_to_id("<|endoftext|>")
    config = GPT2Config(
        vocab_size=270, n_positions=80, n_embd=12, n_layer=3, n_head=3, n_inner=19, layer_norm_epsilon=3e-5,
        scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    assemble(folder, config, 21)
    tokens(folder, tokenizer, "GPT2Tokenizer", bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def gpt2_old(folder):
    """As on the hub: no prefix, the causal mask and its constant among the weights, a sparse config, no end of n_inner."""
    tokenizer = byte_level(263, ["<|endoftext|>"])
    end = tokenizer.token_to_id("<|endoftext|>")
    config = {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": end, "embd_pdrop": 0.1,
        "eos_token_id": end, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 80, "n_embd": 14,
        "n_head": 2, "n_layer": 2, "n_positions": 80, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 263,
    }  # fmt: skip
    write_json(folder / "config.json", config)
    model = AutoModelForCausalLM.from_config(GPT2Config.from_pretrained(folder)).eval()
    weights(model, 22)
    old = {n.removeprefix("transformer."): x.contiguous().clone() for n, x in model.state_dict().items() if not n.startswith("lm_head")}
    for i in range(2):
        old[f"h.{i}.attn.bias"] = torch.ones(16, 16).tril().view(1, 1, 16, 16)
        old[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"model_max_length": 96})


def llama_a(folder):
    """SmolLM's kind: grouped heads, tied embeddings, byte-level BPE, ChatML. Saved as the bare body, without `model.`. Its file splits
    numbers into digits, its class does not."""
    tokenizer = byte_level(272, ["<|endoftext|>", "<|im_start|>", END])
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ids = tokenizer.token_to_id
    config = LlamaConfig(
        vocab_size=272, hidden_size=16, intermediate_size=23, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 700.0}, max_position_embeddings=96,
        tie_word_embeddings=True, bos_token_id=ids("<|im_start|>"), eos_token_id=ids(END), pad_token_id=ids(END),
    )  # fmt: skip
    model = assemble(folder, config, 23, torch.bfloat16)
    bare = {name.removeprefix("model."): x.contiguous().clone() for name, x in model.state_dict().items() if "lm_head" not in name}
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    named = {"bos_token": "<|im_start|>", "eos_token": END, "pad_token": END, "unk_token": "<|endoftext|>"}
    tokens(folder, tokenizer, "GPT2Tokenizer", CHATML, **named)


def llama_b(folder):
    """LLaMA 3's kind, in bfloat16 and shards: biases, heads wider than their share, `llama3` rotary scaling in the older spelling."""
    tokenizer = byte_level(280, ["<|begin|>", "<|im_start|>", END, "<|eot|>"], SPLIT, bos="<|begin|>")
    ids = tokenizer.token_to_id
    config = LlamaConfig(
        vocab_size=283, hidden_size=12, intermediate_size=19, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=6,
        attention_bias=True, mlp_bias=True, max_position_embeddings=96, bos_token_id=ids("<|begin|>"), eos_token_id=[ids(END), ids("<|eot|>")],
    )  # fmt: skip
    assemble(folder, config, 24, torch.bfloat16, max_shard_size="9KB")
    saved = json.loads((folder / "config.json").read_text())
    del saved["rope_parameters"]
    scaling = {"rope_type": "llama3", "factor": 3.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 20}
    write_json(folder / "config.json", saved | {"rope_theta": 900.0, "rope_scaling": scaling})
    tokens(folder, tokenizer, "PreTrainedTokenizerFast", CHATML.replace("{%- if", "{{ bos_token }}{%- if", 1), bos_token="<|begin|>", eos_token=END)


def llama_old(folder):
    """LLaMA 2's kind, in float16: SentencePiece whose class puts a space before the first word alone, buffers among the weights, no key heads of its own."""
    tokenizer = sentence_piece(322, [])
    bos_first(tokenizer, "<s>")
    config = {
        "_name_or_path": "meta-llama/Llama-2-7b-chat-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 12, "initializer_range": 0.02, "intermediate_size": 17, "max_position_embeddings": 96,
        "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 2, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.32.0.dev0", "use_cache": True, "vocab_size": 322,
    }  # fmt: skip
    write_json(folder / "config.json", config)
    model = AutoModelForCausalLM.from_config(LlamaConfig.from_pretrained(folder)).eval()
    weights(model, 31)
    old = {name: x.contiguous().clone() for name, x in model.to(torch.float16).state_dict().items()}
    old |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": 1e4 ** -(torch.arange(3) / 3) for i in range(2)}
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.6, "top_p": 0.9})
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}
    tokens(folder, tokenizer, "LlamaTokenizer", INST, legacy=False, pad_token=None, **named)


def mistral_a(folder):
    """A window of 7, heads narrower than their share, SentencePiece with a BOS, float16."""
    tokenizer = sentence_piece(322, [])
    bos_first(tokenizer, "<s>")
    config = MistralConfig(
        vocab_size=322, hidden_size=12, intermediate_size=17, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=2,
        rms_norm_eps=1e-5, sliding_window=7, max_position_embeddings=96, rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )  # fmt: skip
    assemble(folder, config, 25, torch.float16)
    tokens(folder, tokenizer, "LlamaTokenizer", INST, bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False)


def mistral_b(folder):
    """No window (`sliding_window` null, as from version 0.2 on), key heads as many as query heads, `head_dim` null; a template without a BOS."""
    tokenizer = sentence_piece(320, [])
    bos_first(tokenizer, "<s>")
    config = MistralConfig(
        vocab_size=320, hidden_size=12, intermediate_size=17, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        sliding_window=None, max_position_embeddings=96,
    )  # fmt: skip
    assemble(folder, config, 26, torch.bfloat16)
    saved = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", saved | {"head_dim": None})
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokens(folder, tokenizer, "LlamaTokenizer", INST.replace("{{ bos_token }}", ""), **named)


def qwen(folder, kind, seed, dtype, **settings):
    tokenizer = byte_level(276, ["<|endoftext|>", "<|im_start|>", END], SPLIT)
    tokenizer.normalizer = normalizers.NFC()
    ids = tokenizer.token_to_id
    config = kind(
        vocab_size=279, intermediate_size=17, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96,
        bos_token_id=ids("<|endoftext|>"), eos_token_id=ids(END), pad_token_id=ids("<|endoftext|>"), **settings,
    )  # fmt: skip
    assemble(folder, config, seed, dtype)
    GenerationConfig(eos_token_id=[ids(END), ids("<|endoftext|>")], pad_token_id=ids("<|endoftext|>")).save_pretrained(folder)
    tokens(folder, tokenizer, "Qwen2Tokenizer", CHATML, bos_token=None, eos_token=END, pad_token="<|endoftext|>", unk_token=None)


def qwen2_a(folder):
    """Biases of queries, keys and values; a window of 6 from block 1 on, said by `max_window_layers` alone."""
    settings = {"hidden_size": 16, "num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    qwen(folder, Qwen2Config, 27, torch.bfloat16, **settings)
    saved = json.loads((folder / "config.json").read_text())
    del saved["layer_types"]
    write_json(folder / "config.json", saved)


def qwen3_a(folder):
    """Norms of each head, biases, `layer_types` against `max_window_layers`, tied embeddings."""
    settings = {"hidden_size": 12, "num_hidden_layers": 3, "head_dim": 6, "attention_bias": True, "tie_word_embeddings": True}
    settings |= {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 3}
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    qwen(folder, Qwen3Config, 28, torch.float16, layer_types=types, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, **settings)


def gemma(folder, seed, dtype, **settings):
    tokenizer = sentence_piece(326, ["<bos>", "<start_of_turn>", "<end_of_turn>", "<pad>"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bos_first(tokenizer, "<bos>")
    ids = tokenizer.token_to_id
    config = Gemma2Config(
        vocab_size=329, hidden_size=12, intermediate_size=17, num_attention_heads=4, num_key_value_heads=2, head_dim=6, query_pre_attn_scalar=11,
        max_position_embeddings=96, bos_token_id=ids("<bos>"), eos_token_id=ids("</s>"), pad_token_id=ids("<pad>"), **settings,
    )  # fmt: skip
    assemble(folder, config, seed, dtype)
    tokens(folder, tokenizer, "GemmaTokenizer", TURNS, bos_token="<bos>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", add_bos_token=True)


def gemma2_a(folder):
    """Soft caps that bite, a window of 6 in blocks 0 and 2, as by default."""
    gemma(folder, 29, torch.bfloat16, num_hidden_layers=3, sliding_window=6, attn_logit_softcapping=2.5, final_logit_softcapping=4.0)
    saved = json.loads((folder / "config.json").read_text())
    del saved["layer_types"]
    write_json(folder / "config.json", saved | {"hidden_act": "gelu"})  # not read: `hidden_activation` is


def gemma2_b(folder):
    """No caps (null), the window in block 1 alone, biases in attention."""
    types = ["full_attention", "sliding_attention"]
    caps = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    gemma(folder, 30, torch.float16, num_hidden_layers=2, sliding_window=5, layer_types=types, attention_bias=True, **caps)


VARIANTS = {
    "gpt2-a": gpt2_a, "gpt2-old": gpt2_old, "llama-a": llama_a, "llama-b": llama_b, "llama-old": llama_old, "mistral-a": mistral_a, "mistral-b": mistral_b,
    "qwen2-a": qwen2_a, "qwen3-a": qwen3_a, "gemma2-a": gemma2_a, "gemma2-b": gemma2_b,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or VARIANTS:
        folder = args.out / name / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        VARIANTS[name](folder)
        print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} KiB in {folder}")


if __name__ == "__main__":
    main()

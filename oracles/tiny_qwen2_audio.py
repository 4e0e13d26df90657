"""Builds the tiny random Qwen2-Audio checkpoints of `fixtures/qwen2-audio-*/model`.

    python oracles/tiny_qwen2_audio.py [NAME ...] [--out DIR]
"""

import json

from common import write_json
from tiny_llava import byte_level
from tiny_qwen_vl import SPLIT
from tiny_whisper import main, weights

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor, Qwen2Tokenizer, WhisperFeatureExtractor

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]


def tokenizer(size):
    trained = json.loads(byte_level(size - len(SPECIALS), [], SPLIT).to_str())["model"]
    made = Qwen2Tokenizer(
        vocab=trained["vocab"], merges=[tuple(merge) for merge in trained["merges"]], eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    made.add_special_tokens({"additional_special_tokens": SPECIALS})
    return made


def assemble(folder, seed, made, text, audio, extractor, dtype=torch.float32, **saving):
    ids = made.convert_tokens_to_ids
    text = {"model_type": "qwen2", "vocab_size": len(made) + 3, "max_position_embeddings": 256, "pad_token_id": ids("<|endoftext|>")} | text
    audio = {"model_type": "qwen2_audio_encoder", "num_mel_bins": extractor["feature_size"]} | audio
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=ids("<|AUDIO|>"))
    config.dtype = str(dtype).removeprefix("torch.")
    model = Qwen2AudioForConditionalGeneration(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    Qwen2AudioProcessor(WhisperFeatureExtractor(**extractor), made).save_pretrained(folder)
    end = {"eos_token_id": [ids("<|im_end|>"), ids("<|endoftext|>")], "pad_token_id": ids("<|endoftext|>"), "do_sample": False}
    write_json(folder / "generation_config.json", end)


def qwen2_audio_a(folder):
    """Grouped keys, an odd number of positions in the tower, of which pooling leaves the last out."""
    text = {
        "hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 900.0},
    }  # fmt: skip
    audio = {"d_model": 20, "encoder_layers": 2, "encoder_attention_heads": 5, "encoder_ffn_dim": 31, "max_source_positions": 25}
    extractor = {"feature_size": 128, "sampling_rate": 16000, "hop_length": 320, "n_fft": 400, "chunk_length": 1, "return_attention_mask": True}
    assemble(folder, 75, tokenizer(300), text, audio, extractor)


def qwen2_audio_old(folder):
    """The layout of the hub: its key names, bfloat16 in shards, one key head, a processor's file of its own, a chat template beside it."""
    text = {
        "hidden_size": 16, "intermediate_size": 29, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip
    audio = {
        "d_model": 24, "encoder_layers": 3, "encoder_attention_heads": 3, "encoder_ffn_dim": 23, "max_source_positions": 40, "activation_function": "gelu_new",
    }  # fmt: skip
    extractor = {"feature_size": 80, "sampling_rate": 16000, "hop_length": 400, "n_fft": 512, "chunk_length": 2, "return_attention_mask": True}
    assemble(folder, 76, tokenizer(290), text, audio, extractor, torch.bfloat16)
    state = {}
    for name, x in load_file(folder / "model.safetensors").items():
        for new, old in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."), ("model.", "")):
            if name.startswith(new):
                name = old + name.removeprefix(new)
                break
        state[name] = x
    (folder / "model.safetensors").unlink()
    half, names, index = len(state) // 2, sorted(state), {}
    for i, part in enumerate((names[:half], names[half:]), start=1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({n: state[n] for n in part}, folder / file, metadata={"format": "pt"})
        index |= {n: file for n in part}
    total = sum(x.numel() * x.element_size() for x in state.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
    whole = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    write_json(folder / "preprocessor_config.json", whole["feature_extractor"] | {"processor_class": "Qwen2AudioProcessor", "nb_max_frames": 80, "n_samples": 32000})
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    write_json(folder / "chat_template.json", {"chat_template": template})
    config = json.loads((folder / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    for name in ("layer_types", "max_window_layers", "use_sliding_window", "sliding_window"):
        config["text_config"].pop(name, None)
    config["text_config"] |= {"rope_theta": rope["rope_theta"]}
    config |= {"ignore_index": -100, "vocab_size": config["text_config"]["vocab_size"], "torch_dtype": "bfloat16"}
    write_json(folder / "config.json", config)


VARIANTS = {"qwen2-audio-a": qwen2_audio_a, "qwen2-audio-old": qwen2_audio_old}


if __name__ == "__main__":
    main(VARIANTS)

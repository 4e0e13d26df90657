"""Builds the tiny random Whispers of `fixtures/whisper-*/model`.

    python oracles/tiny_whisper.py [NAME ...] [--out DIR]

Sounds have 16000 samples a second and are padded to a second or two, so that a spectrogram has some dozen frames.
"""

import argparse
import json
import shutil
from pathlib import Path

from common import FIXTURES, normal, write_json

import torch
from safetensors.torch import save_file
from tiny_llava import byte_level
from tokenizers import AddedToken
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor, WhisperTokenizer
from transformers.models.whisper.modeling_whisper import sinusoids

LANGUAGES = ["en", "fr", "ja"]
BEHIND = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]

GAINS = {"q_proj": 1.8, "k_proj": 1.8, "out_proj": 1.6, "encoder_attn.out_proj": 2.2, "fc2": 1.6, "conv": 1.5}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it. The tower's positions are the sinusoids that files hold."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("encoder.embed_positions.weight", "audio_tower.embed_positions.weight")):
                p.copy_(sinusoids(*p.shape))
                continue
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "norm" in name:
                mean, std = 1.0, 0.3
            elif "embed_tokens" in name:
                # Tied rows must stay small, or every position would predict its own token.
                mean, std = 0.0, 0.5 if getattr(model.config, "tie_word_embeddings", False) else 1.0
            elif "embed_positions" in name:
                mean, std = 0.0, 0.7
            else:
                gain = next((g for part, g in reversed(GAINS.items()) if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def tokenizer(size, multilingual, seconds):
    """Whisper's order: words, the end, the start, languages, tasks, what else there is, timestamps, which are no special tokens."""
    named = ["<|endoftext|>", "<|startoftranscript|>"] + [f"<|{x}|>" for x in (LANGUAGES if multilingual else ["en"]) + BEHIND]
    trained = json.loads(byte_level(size - len(named), []).to_str())["model"]
    vocab = {piece: i for piece, i in trained["vocab"].items()}
    made = WhisperTokenizer(vocab=vocab, merges=[tuple(merge) for merge in trained["merges"]], pad_token="<|endoftext|>")
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in named], special_tokens=True)
    made.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(int(seconds * 50) + 1)])
    return made


def assemble(folder, config, made, extractor, seed, generation, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = WhisperForConditionalGeneration(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    WhisperProcessor(WhisperFeatureExtractor(**extractor), made).save_pretrained(folder)
    write_json(folder / "generation_config.json", generation)
    return model


def ids_of(made, vocab):
    ids = made.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    return {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": ids("<|startoftranscript|>"), "vocab_size": vocab}


def generation_of(made, multilingual, **more):
    """As `generation_config.json` of a published checkpoint has it."""
    ids = made.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    own = {
        "begin_suppress_tokens": [ids("Ġ"), end], "bos_token_id": end, "decoder_start_token_id": ids("<|startoftranscript|>"), "eos_token_id": end,
        "is_multilingual": multilingual, "max_initial_timestamp_index": 1, "max_length": 60, "no_timestamps_token_id": ids("<|notimestamps|>"),
        "pad_token_id": end, "prev_sot_token_id": ids("<|startofprev|>"), "return_timestamps": False, "alignment_heads": [[0, 0]],
        "suppress_tokens": [ids(x) for x in "\"#()*"] + [ids(f"<|{x}|>") for x in ["startoftranscript", *BEHIND[:5]]],
    }  # fmt: skip
    if multilingual:
        own["lang_to_id"] = {f"<|{x}|>": ids(f"<|{x}|>") for x in LANGUAGES}
        own["task_to_id"] = {x: ids(f"<|{x}|>") for x in ("transcribe", "translate")}
    return own | more


def whisper_a(folder):
    """80 filters, several languages, of which the generation settings choose one; a tower and a decoder of other depths and heads."""
    made = tokenizer(300, True, 1)
    config = WhisperConfig(
        **ids_of(made, len(made) + 5), d_model=24, num_mel_bins=80, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=37, decoder_layers=3,
        decoder_attention_heads=3, decoder_ffn_dim=29, max_source_positions=25, max_target_positions=64,
    )  # fmt: skip
    extractor = {"feature_size": 80, "hop_length": 320, "n_fft": 400, "chunk_length": 1}
    own = generation_of(made, True, language="fr", task="transcribe")
    # What it would say first, and what it would say most.
    own["begin_suppress_tokens"] += [57]
    own["suppress_tokens"] += [29]
    assemble(folder, config, made, extractor, 71, own)


def whisper_en(folder):
    """As on the hub since 2022: English alone, 128 filters, bfloat16 in shards, another nonlinearity, forced tokens and a settings file in the old layout."""
    made = tokenizer(290, False, 2)
    ids = made.convert_tokens_to_ids
    config = WhisperConfig(
        **ids_of(made, len(made)), d_model=20, num_mel_bins=128, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=31, decoder_layers=2,
        decoder_attention_heads=5, decoder_ffn_dim=27, max_source_positions=40, max_target_positions=48, activation_function="gelu_new",
    )  # fmt: skip
    extractor = {"feature_size": 128, "hop_length": 400, "n_fft": 512, "chunk_length": 2}
    forced = {"forced_decoder_ids": [[1, ids("<|notimestamps|>")]]}
    assemble(folder, config, made, extractor, 72, generation_of(made, False, **forced), torch.bfloat16, max_shard_size="20KB")
    whole = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    write_json(folder / "preprocessor_config.json", whole["feature_extractor"] | {"processor_class": "WhisperProcessor", "nb_max_frames": 80, "n_samples": 32000})


def whisper_old(folder):
    """The names of the first files: the unembedding beside the embedding, float16; languages, of which no file chooses one."""
    made = tokenizer(295, True, 1)
    ids = made.convert_tokens_to_ids
    config = WhisperConfig(
        **ids_of(made, len(made)), d_model=16, num_mel_bins=80, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=19, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=23, max_source_positions=25, max_target_positions=40,
    )  # fmt: skip
    extractor = {"feature_size": 80, "hop_length": 320, "n_fft": 400, "chunk_length": 1}
    forced = {"forced_decoder_ids": [[1, None], [2, ids("<|transcribe|>")]]}
    model = assemble(folder, config, made, extractor, 73, generation_of(made, True, **forced), torch.float16)
    state = {name: x.contiguous().clone() for name, x in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    saved = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", saved | {"torch_dtype": "float16", "forced_decoder_ids": forced["forced_decoder_ids"], "use_cache": True})


VARIANTS = {"whisper-a": whisper_a, "whisper-en": whisper_en, "whisper-old": whisper_old}


def main(variants):
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(variants))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or variants:
        folder = args.out / name / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        variants[name](folder)
        print(f"{name}: {sum(f.stat().st_size for f in folder.iterdir()) / 1024:.0f} KiB in {folder}")


if __name__ == "__main__":
    main(VARIANTS)

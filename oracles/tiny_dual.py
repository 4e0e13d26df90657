"""What `tiny_clip.py` and `tiny_siglip.py` share: weights, tokenizers, the old key layout."""

import argparse
import json
import shutil
from pathlib import Path

from common import FIXTURES, normal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

CAPTIONS = [
    "a photo of a red circle",
    "A photo of TWO green squares, and a blue triangle.",
    "the small yellow star is left of the large purple cross",
    "there isn't any ring; it's a picture of 3 shapes",
    "Ein Foto: größer als das Dreieck. Où est le cercle ?",
    "円は赤いです。 Что находится слева? 😀",
]

SCALARS = {"logit_scale": 1.3, "logit_bias": -0.7}
GAINS = {"q_proj": 1.7, "k_proj": 1.7, "in_proj": 1.7, "out_proj": 1.5, "fc2": 1.5, "projection": 1.4, "head.weight": 1.4}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in SCALARS:
                p.fill_(SCALARS[name])
                continue
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "norm" in name or "layrnorm" in name:
                mean, std = 1.0, 0.3
            elif any(part in name for part in ("token_embedding", "class_embedding", "probe")):
                mean, std = 0.0, 1.0
            elif "position_embedding" in name:
                mean, std = 0.0, 0.5
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def clip_tokenizer(size, pad="<|endoftext|>", **named):
    """OpenAI's scheme: lower case, byte-level pieces that end a word in `</w>`, the two special tokens last."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=letters, end_of_word_suffix="</w>")
    trained.train_from_iterator(CAPTIONS, trainer)
    state = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    # Every byte has a form at the end of a word too, or a word that ends in a rare one would be unknown.
    pieces = letters + [c + "</w>" for c in letters] + [a + b for a, b in merges]
    pieces = list(dict.fromkeys(pieces)) + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={p: i for i, p in enumerate(pieces)}, merges=merges, pad_token=pad, **named)


def gemma_like(size, head, lower):
    """Gemma's scheme: `▁` for spaces, byte fallback, one merge table."""
    alphabet = sorted({c for c in "".join(CAPTIONS[:5]).lower() if c != " "} | {"▁"} | (set() if lower else set("ATWEFO")))
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=head + [f"<0x{b:02X}>" for b in range(256)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained.train_from_iterator(CAPTIONS[:5], trainer)
    return trained


def arguments(variants, build):
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(variants))
    parser.add_argument("--out", type=Path, default=FIXTURES)
    args = parser.parse_args()
    for name in args.names or variants:
        folder = args.out / name / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        build(name, folder)
        size = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {size / 1024:.0f} KiB in {folder}")

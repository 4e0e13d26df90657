"""Builds the tiny random BERTs of `fixtures/bert-*/model`.

    python oracles/tiny_bert.py [NAME ...] [--out DIR]
"""

from common import normal, write_json
from tiny_dual import CAPTIONS, arguments

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, BertTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GAINS = {"query": 1.7, "key": 1.7, "output.dense": 1.4, "transform.dense": 1.4}


def weights(model, seed):
    """Seeded values by kind of parameter, each from a generator named after it."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                mean, std = 0.0, 0.3
            elif "LayerNorm" in name:
                mean, std = 1.0, 0.3
            elif "word_embeddings" in name:
                mean, std = 0.0, 1.0
            elif "embeddings" in name:
                mean, std = 0.0, 0.5
            else:
                gain = next((g for part, g in GAINS.items() if part in name), 1.1)
                mean, std = 0.0, gain / p[0].numel() ** 0.5
            p.copy_(normal(seed, name, p.shape, mean, std))


def pieces(size, lower=True, more=()):
    """A vocabulary of word pieces, by id."""
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lower)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator(CAPTIONS * 2, trainer)
    vocab = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    return {token: i for i, token in enumerate([token for token, _ in vocab] + list(more))}


def lines(folder, vocab):
    """The vocabulary as the first BERTs have it, one token a line."""
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab), encoding="utf-8")


def bert_a(folder):
    """Masked words, lower case, a wide vocabulary of types, as version 5 saves."""
    vocab = pieces(290)
    config = BertConfig(
        vocab_size=len(vocab) + 2, hidden_size=24, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=40,
        type_vocab_size=3, hidden_act="gelu", layer_norm_eps=1e-5, pad_token_id=0,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    weights(model, 51)
    model.save_pretrained(folder)
    BertTokenizer(vocab=vocab, model_max_length=40).save_pretrained(folder)


def bert_b(folder):
    """The bare body with its pooler, cased, another nonlinearity, in bfloat16 shards; a vocabulary of lines alone."""
    vocab = pieces(260, lower=False)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=18, intermediate_size=29, num_hidden_layers=2, num_attention_heads=3, max_position_embeddings=37,
        hidden_act="gelu_new", pad_token_id=0, dtype="bfloat16",
    )  # fmt: skip
    model = BertModel(config).eval()
    weights(model, 52)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="16KB")
    lines(folder, vocab)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "tokenizer_class": "BertTokenizer"})


def bert_old(folder):
    """A folder as on the hub since 2018: norms with gamma and beta, one bias, heads beside the words, float16, a sparse config."""
    vocab = pieces(270)
    config = {
        "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": False, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 20, "initializer_range": 0.02, "intermediate_size": 33, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64, "model_type": "bert", "num_attention_heads": 5, "num_hidden_layers": 2, "pad_token_id": 0,
        "position_embedding_type": "absolute", "transformers_version": "4.6.0.dev0", "type_vocab_size": 2, "use_cache": True, "vocab_size": len(vocab),
    }  # fmt: skip
    write_json(folder / "config.json", config)
    model = BertForPreTraining(BertConfig.from_pretrained(folder)).eval()
    weights(model, 53)
    state = {}
    for name, x in model.to(torch.float16).state_dict().items():
        if not name.startswith("cls.predictions.decoder"):
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            state[name] = x.contiguous().clone()
    state["bert.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    lines(folder, vocab)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 64})


VARIANTS = {"bert-a": bert_a, "bert-b": bert_b, "bert-old": bert_old}

if __name__ == "__main__":
    arguments(VARIANTS, lambda name, folder: VARIANTS[name](folder))

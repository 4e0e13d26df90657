"""Writes `fixtures/generation`: what `generate(do_sample=False)` makes of tiny checkpoints whose generation settings were changed.

    python oracles/generation.py

A case names a checkpoint of `fixtures`, what replaces fields of its `generation_config.json` (`generation`; null is the file taken away) and of its
`config.json` (`config`; `text_config` in it is changed field by field), and the rows. `tokens` are those of each row up to its end token; in
their place `refused` is what transformers says, or true where it does what mmlens does not. `last_position`: the model has no further position. `count` is `max_new_tokens`, or null where the files decide.
"""

import json
import shutil
import tempfile
import warnings
from pathlib import Path

import common
import torch
from common import FIXTURES

import make_traces
import trace

HOME = FIXTURES / "generation"
LONG = "the cat, the dog and the cat"
SHORT = "Go on"
TWO = [{"prompt": SHORT}, {"prompt": LONG}]
SHOWN = [{"images": ["square"], "ask": "What is it? it is"}]
SHOWN_TWO = [{"images": ["tiny"], "ask": "What?"}, {"images": ["wide"], "ask": "Is it round or is it square? is it"}]


def copied(name, generation, config, folder):
    """The checkpoint's folder with other files."""
    place = Path(folder) / "model"
    shutil.copytree(FIXTURES / name / "model", place)
    own = place / "generation_config.json"
    if generation is None:
        own.unlink(missing_ok=True)
    elif generation:
        before = json.loads(own.read_text()) if own.exists() else {}
        own.write_text(json.dumps(before | generation))
    if config:
        own = place / "config.json"
        whole = json.loads(own.read_text())
        inner = whole.get("text_config", {}) | config.get("text_config", {})
        whole |= config | ({"text_config": inner} if "text_config" in config else {})
        own.write_text(json.dumps(whole))
    return place


def ends(checkpoint):
    """The tokens that end a row."""
    text = checkpoint.model.config.get_text_config()
    own = text.sep_token_id if hasattr(checkpoint.family, "generating") else checkpoint.model.generation_config.eos_token_id
    return [own] if isinstance(own, int) else own or []


def generate(checkpoint, rows, count):
    """The tokens of each row, and the smallest lead of a chosen token over the next."""
    batch = trace.prepare(checkpoint, make_traces.opened(rows))
    how = {"do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    how |= {"max_new_tokens": count} if count else {}
    own = getattr(checkpoint.family, "generating", None)
    given = getattr(batch, "given", None) or batch.kwargs()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = own(checkpoint, batch, **how) if own else checkpoint.model.generate(**given, **how)
    best = torch.stack(made.scores, 1).topk(2, dim=-1).values
    steps = best.shape[1]
    end, tokens, lead = ends(checkpoint), [], float("inf")
    for row, scores in zip(made.sequences[:, -steps:].tolist(), best):
        last = next((at for at, token in enumerate(row) if token in end), steps - 1) + 1
        tokens.append(row[:last])
        lead = min(lead, (scores[:last, 0] - scores[:last, 1]).nan_to_num(posinf=1e9).min().item())
    return tokens, lead


def case(model, what, rows, generation=None, config=None, count=12, away=False):
    return {
        "what": what,
        "model": model,
        "rows": rows,
        "generation": None if away else generation or {},
        "config": config or {},
        "count": count,
    }


def settings(model, rows, plain):
    """Every setting that changes scores, by the tokens that come without it (`plain`, of the first row)."""
    bad = [[plain[0], plain[1]], [plain[2]]]
    return [
        case(model, "repetition_penalty", rows, {"repetition_penalty": 1.3}),
        case(model, "repetition is liked", rows, {"repetition_penalty": 0.8}),
        case(model, "encoder_repetition_penalty", rows, {"encoder_repetition_penalty": 1.5}),
        case(model, "no_repeat_ngram_size", rows, {"no_repeat_ngram_size": 2}),
        case(model, "encoder_no_repeat_ngram_size", rows, {"encoder_no_repeat_ngram_size": 1}),
        case(model, "bad_words_ids", rows, {"bad_words_ids": bad}),
        case(model, "sequence_bias", rows, {"sequence_bias": [[[plain[0]], -2.5], [[plain[0], plain[1]], 6.5], [[plain[1], plain[1]], -8.0]]}),
        case(model, "suppress_tokens", rows, {"suppress_tokens": [plain[0], plain[3], -1]}),
        case(model, "begin_suppress_tokens", rows, {"begin_suppress_tokens": plain[:2]}),
        case(model, "min_new_tokens", rows, {"min_new_tokens": 5, "eos_token_id": plain[1]}),
        case(model, "an end token", rows, {"eos_token_id": [plain[1], plain[4]]}),
        case(model, "exponential_decay_length_penalty", rows, {"exponential_decay_length_penalty": [2, 1.6]}),
        case(model, "forced_eos_token_id", rows, {"forced_eos_token_id": plain[0]}),
        case(
            model,
            "several",
            rows,
            {
                "repetition_penalty": 1.1,
                "no_repeat_ngram_size": 3,
                "suppress_tokens": [plain[0]],
                "min_new_tokens": 8,
                "eos_token_id": plain[1],
                "remove_invalid_values": True,
                "renormalize_logits": True,
            },
        ),
    ]


def places(model, rows, plain, inner):
    """Where settings are read from if there is no `generation_config.json`."""
    name = {"text_config": {"eos_token_id": plain[3]}} if inner else {"eos_token_id": plain[3]}
    out = [
        case(model, "no file", rows, away=True),
        case(model, "an end token of the config", rows, config=name, away=True),
        case(model, "the file goes before the config", rows, {"eos_token_id": plain[5]}, config=name),
    ]
    if not inner:
        return [*out, case(model, "a penalty of the config", rows, config={"repetition_penalty": 1.4}, away=True)]
    both = {"eos_token_id": [plain[5]], "text_config": {"eos_token_id": plain[2], "repetition_penalty": 1.2}}
    return [
        *out,
        case(model, "the whole goes before its part", rows, config=both, away=True),
        case(model, "null is no end token", rows, config={"eos_token_id": None} | name, away=True),
    ]


def lengths(model, rows, plain, positions):
    """How long answers are; `positions` is the length of the prompt."""
    late = {"eos_token_id": plain[1]}
    return [
        case(model, "min_length counts the prompt", rows, {"min_length": positions + 6} | late),
        case(model, "max_new_tokens of the file", rows, {"max_new_tokens": 5}, count=None),
        case(model, "max_length of the file", rows, {"max_length": positions + 4}, count=None),
        case(model, "max_new_tokens goes before max_length", rows, {"max_length": positions + 4, "max_new_tokens": 7}, count=None),
        case(model, "forced at the file's length", rows, {"max_length": positions + 4, "forced_eos_token_id": plain[0]}, count=None),
        case(model, "a least length beyond the greatest", rows, {"min_length": 10**6} | late),
    ]


def refusals(model, rows, plain):
    """What transformers refuses, or does in another way that mmlens refuses."""
    changes = [
        {"num_beams": 3},
        {"penalty_alpha": 0.6},
        {"guidance_scale": 1.5},
        {"stop_strings": ["a"]},
        {"num_return_sequences": 2},
        {"prompt_lookup_num_tokens": 3},
        {"dola_layers": "low"},
        {"token_healing": True},
        {"watermarking_config": {"bias": 2.0}},
        {"repetition_penalty": -1.0},
        {"bad_words_ids": []},
        {"bad_words_ids": [[10**6]]},
        {"sequence_bias": []},
        {"suppress_tokens": [plain[0]], "forced_eos_token_id": plain[0]},
        {"forced_bos_token_id": 10**6, "forced_eos_token_id": 10**6},
        {"exponential_decay_length_penalty": [1, 1.5], "eos_token_id": None},
    ]
    return [case(model, f"{', '.join(change)} {'is' if len(change) == 1 else 'are'} refused", rows, change) | {"refused": True} for change in changes]


def blips(model, rows, plain):
    """A BLIP's decoder is told nothing by `generation_config.json`, and by `text_config` only what newer versions know."""
    inner = lambda **fields: {"text_config": fields}
    return [
        case(model, "the file has no say", rows, {"repetition_penalty": 5.0, "suppress_tokens": [plain[0]], "num_beams": 3}),
        case(model, "nor has the config, of older settings", rows, config=inner(repetition_penalty=5.0, suppress_tokens=[plain[0]], num_beams=3, max_length=2)),
        case(model, "sequence_bias", rows, config=inner(sequence_bias=[[[plain[0]], -100.0]])),
        case(model, "min_new_tokens", rows, config=inner(sep_token_id=plain[1], min_new_tokens=4)),
        case(model, "an end token", rows, config=inner(sep_token_id=plain[1])),
        case(model, "max_new_tokens of the config", rows, config=inner(max_new_tokens=3), count=None),
        case(model, "guidance_scale is refused", rows, config=inner(guidance_scale=2.0)) | {"refused": True},
    ]


def ending(model, rows):
    """As many tokens as the model has positions for, and the one behind the last of them; one more is an error of the library."""
    with tempfile.TemporaryDirectory() as folder:
        config = trace.open_checkpoint(copied(model, {}, {}, folder))
        out = []
        for row in rows:
            ids = trace.prepare(config, make_traces.opened([row])).input_ids
            positions = getattr(config.model.config.get_text_config(), "max_position_embeddings")
            used = 1 if model == "blip-qa" else ids.shape[1]
            out.append(case(model, "up to the last position", [row], count=positions - used + 1) | {"last_position": True})
        return out


def plain(model, rows):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = trace.open_checkpoint(copied(model, {}, {}, folder))
        positions = trace.prepare(checkpoint, make_traces.opened(rows)).input_ids.shape[1]
        return generate(checkpoint, rows, 12)[0][0], positions


def cases():
    out = []
    for model, rows in [("gpt2-a", TWO), ("qwen2.5-vl-a", SHOWN), ("llava-a", SHOWN_TWO), ("smolvlm-a", SHOWN), ("gemma2-a", TWO[1:])]:
        own, positions = plain(model, rows)
        out += settings(model, rows, own)
        if model in ("gpt2-a", "llava-a"):
            out += lengths(model, rows, own, positions) + places(model, rows, own, model != "gpt2-a")
        if model == "gpt2-a":
            out += refusals(model, rows, own)
            one = [{"prompt": "a"}]
            out += [
                case(model, "forced_bos_token_id behind one position", one, {"forced_bos_token_id": 7, "begin_suppress_tokens": [7, 9]}),
                case(model, "forced_bos_token_id behind more", rows, {"forced_bos_token_id": 7}),
                case(model, "nothing is left", one, {"no_repeat_ngram_size": 1, "suppress_tokens": list(range(300))}),
            ]
    for model, rows in [("qwen3-vl-a", SHOWN), ("llava-next-a", SHOWN), ("idefics3-a", SHOWN), ("mistral-a", TWO), ("llama-old", TWO[1:])]:
        own, _ = plain(model, rows)
        chosen = ("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "several")
        out += [c for c in settings(model, rows, own) if c["what"] in chosen]
    for model, rows in [("blip-a", [{"images": ["square"]}, {"images": ["wide"], "prompt": "a picture of a"}]), ("blip-qa", [{"images": ["square"], "ask": "what?"}])]:
        out += blips(model, rows, plain(model, rows)[0]) + ending(model, rows)
    return out + ending("gpt2-a", [{"prompt": LONG * 2}, {"prompt": SHORT}]) + ending("gpt2-old", [{"prompt": LONG}])


def main():
    leads, alike, found = {}, [], []
    before = {}
    for c in cases():
        with tempfile.TemporaryDirectory() as folder:
            place = copied(c["model"], c["generation"], c["config"], folder)
            try:
                tokens, lead = generate(trace.open_checkpoint(place), c["rows"], c["count"])
                found.append(c | ({} if "refused" in c else {"tokens": tokens}))
            except Exception as error:
                assert c.get("refused") or c["what"] == "nothing is left", (c, error)
                found.append(c | {"refused": f"{type(error).__name__}: {error}"[:160]})
                continue
        if c.get("refused"):
            continue
        name = f"{c['model']}: {c['what']}"
        if lead > 0:
            leads[name] = lead
        key = json.dumps([c["model"], c["rows"], c["count"]])
        with tempfile.TemporaryDirectory() as folder:
            if key not in before:
                before[key] = generate(trace.open_checkpoint(copied(c["model"], {}, {}, folder)), c["rows"], c["count"] or 12)[0]
        if tokens == before[key]:
            alike.append(name)
        print(name, tokens, lead)
    HOME.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in found)
    (HOME / "cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    common.why(
        HOME,
        "generation.py",
        "Greedy tokens of tiny checkpoints whose generation settings were changed.",
        {"tokens": 0},
        "Tokens are equal: the smallest lead of a chosen token over the next, after all settings, is `lead`, far above the error of float32.",
        lead=min(leads.values()),
        without_effect=alike,
    )
    print("smallest lead", min(leads, key=leads.get), min(leads.values()))
    print("without effect:", *alike, sep="\n  ")


if __name__ == "__main__":
    main()

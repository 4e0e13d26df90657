"""Writes `fixtures/beams`: what `generate(num_beams=n, do_sample=False)` makes of tiny checkpoints.

    python oracles/beams.py

Cases are those of `generation.py` with a search: `beams`, `length_penalty`, `early_stopping`. `tokens` are those of the best answer of each row up to
its end token, `scores` its `sequences_scores`. A case is kept if float64 finds the same tokens.
"""

import contextlib
import json
import tempfile
import warnings

import common
import torch
from common import FIXTURES

import double
import generation
import make_traces
import trace

HOME = FIXTURES / "beams"


@contextlib.contextmanager
def in_double(model, batch):
    """Model and inputs in float64, softmax and norms of attention included."""
    softmax, replaced = torch.nn.functional.softmax, double.norms(model)
    before = {kind: kind.forward for kind in replaced}
    for kind, forward in replaced.items():
        kind.forward = forward
    model.double()
    for module in model.modules():
        if hasattr(module, "reorder_and_upcast_attn"):
            module.reorder_and_upcast_attn = False
    for holder in (vars(batch), getattr(batch, "more", {}), getattr(batch, "given", {})):
        holder |= {name: x.double() for name, x in holder.items() if torch.is_tensor(x) and x.is_floating_point()}
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None, **more: softmax(x, dim=dim, **more)
    try:
        yield
    finally:
        torch.nn.functional.softmax = softmax
        for kind, forward in before.items():
            kind.forward = forward


def search(checkpoint, rows, count, how, exact=False):
    """The tokens of the best answer to each row, and its score."""
    batch = trace.prepare(checkpoint, make_traces.opened(rows))
    own = getattr(checkpoint.family, "generating", None)
    how = how | {"do_sample": False, "return_dict_in_generate": True, "output_scores": True, "max_new_tokens": count}
    with torch.no_grad(), warnings.catch_warnings(), in_double(checkpoint.model, batch) if exact else contextlib.nullcontext():
        warnings.simplefilter("ignore")
        given = getattr(batch, "given", None) or batch.kwargs()
        made = own(checkpoint, batch, **how) if own else checkpoint.model.generate(**given, **how)
    # A question is read apart from its answer.
    prompt = 1 if own and "QuestionAnswering" in checkpoint.model.config.architectures[0] else batch.input_ids.shape[1]
    end, tokens = generation.ends(checkpoint), []
    for row in made.sequences[:, prompt:].tolist():
        last = next((at for at, token in enumerate(row) if token in end), len(row) - 1) + 1
        tokens.append(row[:last])
    return tokens, made.sequences_scores.tolist()


def case(model, what, rows, beams, penalty=1.0, early=False, settings=None, config=None, count=10):
    base = generation.case(model, what, rows, settings, config, count)
    return base | {"beams": beams, "length_penalty": penalty, "early_stopping": early}


def cases():
    out = []
    listed = [
        ("gpt2-a", generation.TWO),
        ("gpt2-a", [{"prompt": "a"}, {"prompt": "It is, as they say, blue"}, {"prompt": "Go"}]),
        ("llama-b", generation.TWO),
        ("mistral-a", generation.TWO),
        ("gemma2-a", generation.TWO[1:]),
        ("qwen3-a", generation.TWO),
        ("llava-a", generation.SHOWN_TWO),
        ("llava-next-a", generation.SHOWN),
        ("smolvlm-a", generation.SHOWN),
        ("qwen2.5-vl-a", generation.SHOWN),
        ("qwen3-vl-a", generation.SHOWN),
        ("blip-a", [{"images": ["square"]}, {"images": ["wide"], "prompt": "a picture of a"}]),
        ("blip-qa", [{"images": ["square"], "ask": "what?"}]),
    ]
    for model, rows in listed:
        plain, _ = generation.plain(model, rows)
        blip = model.startswith("blip")

        def ending(*at):
            ids = [plain[i] for i in at]
            if blip:
                return {"config": {"text_config": {"sep_token_id": ids[0]}}}
            return {"settings": {"eos_token_id": list(dict.fromkeys(ids))}}

        out += [
            case(model, "two beams", rows, 2),
            case(model, "five beams", rows, 5),
            case(model, "three beams that end", rows, 3, **ending(3)),
            case(model, "they end early", rows, 3, 1.0, True, **ending(3)),
            case(model, "two ends, longer is better", rows, 4, 2.0, False, **ending(1, 4)),
            case(model, "two ends, early, longer is better", rows, 4, 2.0, True, **ending(1, 4)),
            case(model, "no penalty", rows, 3, 0.0, False, **ending(2, 5)),
            case(model, "shorter is better", rows, 3, -1.0, False, **ending(2, 5)),
            case(model, "shorter is better, early", rows, 3, -1.0, True, **ending(0)),
            case(model, "one token", rows, 2, count=1),
        ]
        if blip:
            out.append(case(model, "with rules", rows, 3, config={"text_config": {"sequence_bias": [[[plain[0]], -100.0]], "min_new_tokens": 4, "sep_token_id": plain[1]}}))
            continue
        several = {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "suppress_tokens": [plain[0]], "min_new_tokens": 4, "eos_token_id": plain[1]}
        out += [
            case(model, "with rules", rows, 3, settings=several),
            case(model, "with rules, early", rows, 4, 1.5, True, settings=several | {"forced_eos_token_id": plain[0] + 1, "bad_words_ids": [[plain[3]]]}),
            case(model, "the file's own number of beams is not asked for", rows, 2, settings={"num_beams": 4, "length_penalty": 3.0, "early_stopping": True}),
        ]
    return out


def main():
    found, left_out, worst, greedy = [], [], 0.0, 0
    for c in cases():
        how = {"num_beams": c["beams"], "length_penalty": c["length_penalty"], "early_stopping": c["early_stopping"]}
        with tempfile.TemporaryDirectory() as folder:
            place = generation.copied(c["model"], c["generation"], c["config"], folder)
            tokens, scores = search(trace.open_checkpoint(place), c["rows"], c["count"], how)
            exact, exactly = search(trace.open_checkpoint(place), c["rows"], c["count"], how, exact=True)
            alone = generation.generate(trace.open_checkpoint(place), c["rows"], c["count"])[0] if "num_beams" not in c["generation"] else None
        name = f"{c['model']}: {c['what']}"
        if tokens != exact:
            left_out.append(name)
            continue
        worst = max(worst, *(abs(a - b) for a, b in zip(scores, exactly)))
        greedy += tokens == alone
        found.append(c | {"tokens": tokens, "scores": scores})
        print(name, tokens, scores)
    HOME.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in found)
    (HOME / "cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    common.why(
        HOME,
        "beams.py",
        "The best of several beams on tiny checkpoints, by number, penalty of the length, early stopping and other settings.",
        {"tokens": 0, "scores": 1e-4},
        "Tokens are equal: float64 finds the same in every case that is kept. Scores are sums of up to ten log-probabilities, within 1e-4 of their size, or of 1; float32 itself is off by `rounding`, where scores go down to -222.",
        rounding=worst,
        left_out=left_out,
        as_greedy=greedy,
    )
    print(len(found), "cases,", greedy, "as greedy decoding has them; left out:", left_out, worst)


if __name__ == "__main__":
    main()

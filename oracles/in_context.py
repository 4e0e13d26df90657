"""In-context ablation on `llava-a` and on `llama-b`, which sees no pictures, in transformers: `fixtures/methods/in-context-*.safetensors`.

Eight questions with answers; before each stand two others. Of every condition the log-probability of the right answer behind the prompt, whether its tokens are the likeliest where they stand, and which cases stand before
which. Draws follow from a seed as in mmlens: SplitMix64, smallest first.
"""

import common
import numpy as np
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER
from modality import answer
from tracing import at

SEED, MANY = 3, 2
NAMES = ["square", "tall", "wide", "tiny", "square", "wide", "tall", "tiny"]
QUESTIONS = ["Red?", "Big?", "Red or big?", "What?", "How many?", "Red?", "Is it?", "Big?"]
ANSWERS = ["red", "no", "big", "a red", "no", "two", "red", "no"]
CONDITIONS = ["none", "full", "no-pictures", "other-pictures", "other-questions", "other-answers", "reversed"]


def drawn(count, seed):
    return [int(i) for i in np.argsort(at(np.uint64(seed), np.arange(count)), kind="stable")]


def chosen(index):
    return [i for i in drawn(len(NAMES), at(np.uint64(SEED), index)) if i != index][:MANY]


def others(index, before):
    seed = at(at(np.uint64(SEED), len(NAMES)), index)
    return [i for i in drawn(len(NAMES), seed) if i != index and i not in before]


def demonstrations(condition, before, rest):
    """Each a picture or none, a question, an answer."""
    own = [(NAMES[i], QUESTIONS[i], ANSWERS[i]) for i in before]
    taken = [rest[at % len(rest)] for at in range(len(own))]

    def another(place, said):
        return next((ANSWERS[rest[(place + step) % len(rest)]] for step in range(len(rest)) if ANSWERS[rest[(place + step) % len(rest)]] != said), said)

    return {
        "none": [],
        "full": own,
        "no-pictures": [(None, q, a) for _, q, a in own],
        "other-pictures": [(NAMES[other], q, a) for other, (_, q, a) in zip(taken, own)],
        "other-questions": [(p, QUESTIONS[other], a) for other, (p, _, a) in zip(taken, own)],
        "other-answers": [(p, q, another(place, a)) for place, (p, q, a) in enumerate(own)],
        "reversed": own[::-1],
    }[condition]


def look(name, sees):
    checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    logs, right, before_all = [], [], []
    for index, question in enumerate(QUESTIONS):
        before = chosen(index)
        before_all.append(before)
        for condition in CONDITIONS:
            shown = demonstrations(condition, before, others(index, before))
            place = lambda picture: "<image>" if picture and sees else ""
            text = "".join(f"{place(p)}{q} {a}\n" for p, q, a in shown) + f"{place(True)}{question}"
            images = [Image.open(pictures.FOLDER / f"{p}.png") for p in [p for p, _, _ in shown if p] + [NAMES[index]]]
            batch = trace.prepare(checkpoint, [{"prompt": text, "images": images if sees else []}])
            tokens = answer(tokenizer, text, " " + ANSWERS[index])
            ids = torch.cat([batch.input_ids, torch.tensor([tokens])], 1)
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **batch.shown()).logits[0].double()
            own = logits[-len(tokens) - 1 : -1]
            logs.append(float(own.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).sum()))
            right.append(float((own.argmax(-1) == torch.tensor(tokens)).all()))
    shape = (len(QUESTIONS), len(CONDITIONS))
    logs, right = np.array(logs).reshape(shape), np.array(right).reshape(shape)
    apart = logs - logs[:, [1]]
    out = {
        "by case": logs,
        "right by case": right,
        "log-probability": logs.mean(0),
        "right": right.mean(0),
        "change": apart.mean(0),
        "change error": apart.std(0, ddof=1) / np.sqrt(len(QUESTIONS)),
        "demonstrations": np.array(before_all),
    }
    about = {"seed": SEED, "demonstrations": MANY, "pictures": NAMES if sees else [], "questions": QUESTIONS, "answers": ANSWERS, "conditions": CONDITIONS}
    path = common.save(FOLDER / f"in-context-{name}.safetensors", {k: torch.tensor(v, dtype=torch.float64) for k, v in out.items()}, about)
    print(out["log-probability"], out["change"], out["right"])
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    look("llava-a", True)
    look("llama-b", False)

"""How sure `llava-a` and `llama-b`, which sees no pictures, are in transformers, and measures of confidence: `fixtures/methods/{token-entropy,semantic-entropy,calibration}-*.safetensors`.

Answers are drawn as mmlens draws them, from the same numbers (`Seed`), of logits that transformers computes; what is made of them is written anew by the formulas of the authors' code
(jlko/semantic_uncertainty), SQuAD's normalisation of answers and scikit-learn.
"""

import math
import re
import string

import common
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import brier_score_loss, roc_auc_score

import pictures
import trace
from methods import FOLDER

PROMPT, PICTURES = "Red?", ["square", "wide"]
OTHER = [40, 7, 123, 200]
# Warm enough for some answers to differ, cold enough for some to be the same.
DRAWS = {
    "llava-a": {"samples": 12, "temperature": 0.45, "max_new": 2, "seed": 5},
    "llama-b": {"samples": 12, "temperature": 0.45, "max_new": 2, "seed": 5},
}
PROMPTS = {"llava-a": ["Red?", "Big?", "Is it big", "it"], "llama-b": ["Red?", "Big?", "Is it big", "it", "left of a", "So?", "as they say", "a b c"]}
NEW, BINS = 3, 15
TEXTS = [" The red  circle. ", "A theory, an ant!", "the—end a\u00a0b it's", "RED-blue", "an", "", "No.", "a the an A", "It's a 3.5", "Ärger über the Öl", "x_y a", "the\ttwo\ncats"]

MASK = (1 << 64) - 1


def exact(x):
    return torch.tensor(x, dtype=torch.float64)



def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def at(seed, item):
    return mix(seed ^ mix((item + 0x9E3779B97F4A7C15) & MASK))


def unit(seed):
    return (mix(seed) >> 40) / (1 << 24)


def draw(logits, seed, temperature):
    """A token by its share, the highest first."""
    scores = logits.numpy()
    shares = np.exp(((scores - scores.max()) / np.float32(temperature)).astype(np.float64))
    order = sorted(range(len(shares)), key=lambda i: (-shares[i], i))
    left = unit(seed) * shares.sum()
    for token in order:
        left -= shares[token]
        assert abs(left) > 1e-6, left
        if left < 0:
            return token


def normalised(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def clusters(texts):
    ids, known = [], []
    for text in map(normalised, texts):
        if text not in known:
            known.append(text)
        ids.append(known.index(text))
    return ids


def rao(ids, logs):
    """Shares of clusters by likelihood, and their entropy."""
    total = np.log(np.sum(np.exp(logs)))
    each = [np.log(np.sum(np.exp([l - total for i, l in zip(ids, logs) if i == own]))) for own in sorted(set(ids))]
    return np.exp(each), -np.sum(np.exp(each) * each)


class Model:
    def __init__(self, name):
        self.name = name
        self.checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        self.pictures = PICTURES if name == "llava-a" else [None]
        self.ends = self.checkpoint.model.generation_config.eos_token_id
        self.ends = self.ends if isinstance(self.ends, list) else [self.ends]

    def written(self, prompt):
        """A prompt with the place of its picture, if there is one."""
        return prompt if self.pictures == [None] else f"<image>{prompt}"

    def prompt(self, prompt, picture):
        shown = {} if picture is None else {"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}
        return trace.prepare(self.checkpoint, [{"prompt": self.written(prompt)} | shown])

    def logits(self, batch, tokens):
        ids = torch.cat([batch.input_ids, torch.tensor([tokens], dtype=batch.input_ids.dtype)], 1)
        with torch.no_grad():
            return self.checkpoint.model(input_ids=ids, use_cache=False, **batch.shown()).logits[0, batch.input_ids.shape[1] - 1 :]

    def write(self, batch, count, choose):
        tokens, logs = [], []
        for step in range(count):
            own = self.logits(batch, tokens)[-1]
            tokens.append(int(choose(own, step)))
            logs.append(float(own.double().log_softmax(-1)[tokens[-1]]))
            if tokens[-1] in self.ends:
                break
        return tokens, logs

    def text(self, tokens):
        return self.checkpoint.tokenizer.decode(tokens, skip_special_tokens=True)


def token_entropy(model):
    batch = model.prompt(PROMPT, model.pictures[0])
    greedy, _ = model.write(batch, 5, lambda logits, _: logits.argmax())
    out = {}
    for name, tokens in (("greedy", greedy), ("other", OTHER)):
        logs = model.logits(batch, tokens)[: len(tokens)].double().log_softmax(-1)
        top = logs.exp().topk(2, dim=-1).values
        own = logs[range(len(tokens)), tokens]
        out |= {
            f"{name}.tokens": torch.tensor(tokens),
            f"{name}.entropy": -(logs.exp() * logs).sum(-1),
            f"{name}.top probability": top[:, 0],
            f"{name}.margin": top[:, 0] - top[:, 1],
            f"{name}.probability": own.exp(),
            f"{name}.rank": (logs > own[:, None]).sum(-1),
            f"{name}.log probability": own.sum(),
            f"{name}.perplexity": (-own.mean()).exp(),
        }
    common.save(FOLDER / f"token-entropy-{model.name}.safetensors", out, {"prompt": model.written(PROMPT), "picture": model.pictures[0]})
    print({name: x.tolist() for name, x in out.items()})


def semantic_entropy(model):
    draws = DRAWS[model.name]
    batch, seed = model.prompt(PROMPT, model.pictures[0]), draws["seed"]
    tokens, logs = [], []
    for sample in range(draws["samples"]):
        own = at(seed, sample)
        said, of = model.write(batch, draws["max_new"], lambda logits, step: draw(logits, at(at(own, 0), step), draws["temperature"]))
        tokens.append(said)
        logs.append(np.mean(of))
    texts = [model.text(said) for said in tokens]
    greedy = model.text(model.write(batch, draws["max_new"], lambda logits, _: logits.argmax())[0])
    ids = clusters(texts)
    counts = np.bincount(ids)
    p = counts / counts.sum()
    weighted, entropy = rao(ids, logs)
    order = sorted(range(len(counts)), key=lambda own: (-counts[own], own))
    out = {
        "semantic entropy": exact(-(p * np.log(p)).sum()),
        "weighted entropy": exact(entropy),
        "predictive entropy": exact(-np.mean(logs)),
        "share": exact(p[order]),
        "weighted share": exact(weighted[order]),
        "log probability": exact(logs),
        "votes": torch.tensor(counts[order]),
        "alike": exact(np.mean([normalised(text) == normalised(greedy) for text in texts])),
    }
    about = {"prompt": model.written(PROMPT), "picture": model.pictures[0], "draws": draws, "texts": texts, "greedy": greedy, "normalised": [[text, normalised(text)] for text in TEXTS]}
    common.save(FOLDER / f"semantic-entropy-{model.name}.safetensors", out, about)
    print(texts, ids, counts, {name: x.tolist() for name, x in out.items()}, greedy)


def errors(confidence, right):
    """ECE in bins of equal width, which hold their upper end, and of equal mass."""
    wide = 0.0
    for low, high in zip(np.linspace(0, 1, BINS + 1)[:-1], np.linspace(0, 1, BINS + 1)[1:]):
        own = (confidence > low) & (confidence <= high) | ((low == 0) & (confidence == 0))
        if own.any():
            wide += own.mean() * abs(confidence[own].mean() - right[own].mean())
    order = np.argsort(confidence, kind="stable")
    even = sum(len(own) / len(order) * abs(confidence[own].mean() - right[own].mean()) for own in np.array_split(order, BINS) if len(own))
    return [wide, even]


def drawn():
    """Confidences that no model gave."""
    rng = common.rng(15, "confidences")
    confidence = np.concatenate([rng.random(160), np.round(rng.random(40), 1)])
    # Too sure where it is high, not sure enough where it is low: errors of bins do not add up to that of all.
    right = rng.random(200) < 0.3 + 0.4 * confidence
    return {
        "drawn.confidence": exact(confidence),
        "drawn.right": torch.tensor(right.astype(np.uint8)),
        "drawn.errors": exact(errors(confidence, right.astype(float))),
        "drawn.brier": exact(brier_score_loss(right, confidence)),
        "drawn.auroc": exact(roc_auc_score(right, confidence)),
    }


def calibration(model):
    out = drawn() if model.name == "llava-a" else {}
    texts, products, means, least = [], [], [], []
    for prompt in PROMPTS[model.name]:
        for picture in model.pictures:
            tokens, logs = model.write(model.prompt(prompt, picture), NEW, lambda logits, _: logits.argmax())
            # Control characters that Python takes for white space, Unicode does not.
            texts.append(model.text(tokens).strip(" \n"))
            products.append(math.exp(sum(logs)))
            means.append(math.exp(np.mean(logs)))
            least.append(math.exp(min(logs)))
    out |= {"likelihood": exact(products), "mean": exact(means), "least": exact(least)}
    about = {"prompts": [model.written(prompt) for prompt in PROMPTS[model.name]], "pictures": model.pictures, "texts": texts, "max_new": NEW, "bins": BINS}
    common.save(FOLDER / f"calibration-{model.name}.safetensors", out, about)
    print(texts, {name: x.tolist() for name, x in out.items() if x.numel() < 20})


if __name__ == "__main__":
    for name in DRAWS:
        own = Model(name)
        token_entropy(own)
        semantic_entropy(own)
        calibration(own)

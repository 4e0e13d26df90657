"""BLEU, ROUGE-L and CIDEr by COCO's own scorers: `fixtures/rationales/scores.json`.

Sentences are made of a few words, so that n-grams repeat, are missing, and stand in several references. The tokenizer, METEOR and SPICE need Java and are not used.
"""

import json

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from common import FIXTURES, rng, why

WORDS = "a the man dog board on stands runs because he she is red snow in of two".split()
FOLDER = FIXTURES / "rationales"


def sentence(draws, least):
    return " ".join(draws.choice(WORDS) for _ in range(draws.integers(least, 13)))


def near(draws, text):
    """The text with some words exchanged, dropped or doubled."""
    words = []
    for word in text.split():
        chance = draws.random()
        words += [word] if chance < 0.6 else [draws.choice(WORDS)] if chance < 0.8 else [word, word] if chance < 0.9 else []
    return " ".join(words) or "a"


def scored(texts, references):
    gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(texts)}
    bleu, _ = Bleu(4).compute_score(gts, res, verbose=0)
    rouge, _ = Rouge().compute_score(gts, res)
    cider, _ = Cider().compute_score(gts, res)
    return {"texts": texts, "references": references, "bleu": [float(x) for x in bleu], "rouge_l": float(rouge), "cider": float(cider)}


def main():
    sets = []
    for number, count in enumerate([1, 2, 5, 12, 12]):
        draws = rng(3, f"rationales-{number}")
        texts = [sentence(draws, 1) for _ in range(count)]
        references = [[near(draws, text) for _ in range(draws.integers(1, 4))] for text in texts]
        if number == 4:  # shorter than their references
            texts = [" ".join(text.split()[: max(1, len(text.split()) // 2)]) for text in texts]
        sets.append(scored(texts, references))
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "scores.json").write_text(json.dumps(sets, indent=1) + "\n")
    why(
        FOLDER,
        "rationales.py",
        "Texts, references, and their scores by pycocoevalcap 1.2, with NumPy " + np.__version__ + ".",
        {"scores": 1e-9},
        "The same sums in double precision, in another order.",
    )
    for one in sets:
        print(len(one["texts"]), one["bleu"], one["rouge_l"], one["cider"])


if __name__ == "__main__":
    main()

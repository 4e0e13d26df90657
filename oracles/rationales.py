"""BLEU, ROUGE-L and CIDEr by COCO's own scorers: `fixtures/rationales/scores.json`. A data set laid out as GQA-REX, and its grounding score: `fixtures/rationales/gqa-rex`.

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


def gqa_rex():
    """Pictures with objects and detected boxes, questions, and explanations raw and converted; where each mark lies and the grounding score, both by painting pixels."""
    folder, draws = FOLDER / "gqa-rex", rng(3, "gqa-rex")
    (folder / "boxes").mkdir(parents=True, exist_ok=True)
    names = ["man", "traffic light", "dog", "bench", "sky"]
    graphs, detected, object_id = {}, {}, 1000000
    for picture, (width, height) in {"2370799": (40, 30), "713137": (32, 50), "285743": (25, 25)}.items():
        objects = {}
        for name in names:
            x, y = int(draws.integers(0, width - 8)), int(draws.integers(0, height - 8))
            w, h = int(draws.integers(3, width - x + 1)), int(draws.integers(3, height - y + 1))
            objects[str(object_id)] = {"name": name, "x": x, "y": y, "w": w, "h": h, "attributes": ["red"], "relations": []}
            object_id += 17
        graphs[picture] = {"width": width, "height": height, "location": "indoors", "objects": objects}
        near = [[o["x"], o["y"], o["x"] + o["w"], o["y"] + o["h"]] for o in objects.values()]
        boxes = np.array(near, dtype=np.float32) + draws.uniform(-2, 2, (len(near), 4)).astype(np.float32)
        boxes = np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
        detected[picture] = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
        np.save(folder / "boxes" / f"{picture}.npy", detected[picture])

    def painted(picture, boxes):
        canvas = np.zeros((graphs[picture]["height"], graphs[picture]["width"]), dtype=bool)
        for x0, y0, x1, y1 in boxes:
            canvas[int(y0) : int(y1), int(x0) : int(x1)] = True
        return canvas

    def iou(a, b):
        either = np.logical_or(a, b).sum()
        return float(np.logical_and(a, b).sum() / either) if either else 0.0

    def corners(picture, key):
        o = graphs[picture]["objects"][key]
        return [o["x"], o["y"], o["x"] + o["w"], o["y"] + o["h"]]

    questions, raw, converted, annotation, bounds, expected, scores, last = {}, {}, {}, {}, {}, {}, [], []
    for number in range(9):
        question, picture = f"{number:02d}{int(draws.integers(10**5)):05d}", list(graphs)[number % 3]
        keys = list(graphs[picture]["objects"])
        a, b, other = (int(i) for i in draws.permutation(len(keys))[:3])
        questions[question] = {"imageId": picture, "question": f"Is the thing {number} red, or not?", "answer": ["yes", "no", "left"][number % 3], "fullAnswer": "Yes.", "types": {"structural": "verify"}}
        name = {i: graphs[picture]["objects"][keys[i]]["name"] for i in (a, b)}
        cell = int(draws.integers(1, 17))
        raw[question], converted[question], says, points = [
            (f"(obj:{keys[a]}) is to the left of (obj:{keys[b]}),(obj:{keys[a]})", f"#{a} is to the left of #{b} #{a}", f"{name[a]} is to the left of {name[b]},{name[a]}", [a, b, a]),
            (f"there is no (obj*:fire truck) near (obj:{keys[a]})", f"there is no fire truck near #{a}", f"there is no fire truck near {name[a]}", [a]),
            (f"(obj:{keys[a]}) is located at (0.3,0.6)", f"#{a} is located at @{cell}", f"{name[a]} is located at (0.3,0.6)", [a]),
        ][number % 3]
        if number == 8:
            raw[question] = converted[question] = says = ""
            points = []
        places = [detected[picture][i].tolist() for i in points]
        if number % 3 == 2 and points:
            w, h = graphs[picture]["width"] / 4, graphs[picture]["height"] / 4
            column, row = (cell - 1) % 4, (cell - 1) // 4
            places.append([column * w, row * h, (column + 1) * w, (row + 1) * h])
        expected[question] = {"says": says, "raw": [corners(picture, keys[i]) for i in points], "converted": places}
        roi = [keys[i] for i in ([a, other] if number % 2 else [b])]
        annotation[question] = {"imgid": picture, "width": graphs[picture]["width"], "height": graphs[picture]["height"], "roi": roi}
        bounds[question] = 0 if number == 4 else round(float(draws.uniform(0.3, 1.0)), 6)
        if bounds[question]:
            mask = painted(picture, [detected[picture][i] for i in points])
            scores.append(iou(mask, painted(picture, [corners(picture, key) for key in roi])) / bounds[question])
            last.append(iou(mask, painted(picture, [corners(picture, roi[-1])])) / bounds[question])
    # Questions and graphs that nobody asks for, and another order.
    questions = {"00": {"imageId": "1", "question": "", "answer": ""}, **dict(reversed(questions.items()))}
    graphs["1"] = {"width": 4, "height": 4, "objects": {}}
    files = {
        "questions": questions,
        "scene_graphs": graphs,
        "raw": raw,
        "converted": converted,
        "annotation": annotation,
        "upper_bound": bounds,
        "expected": {"places": expected, "score": float(np.mean(scores)), "last": float(np.mean(last)), "count": len(scores)},
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value) + "\n")
    print("gqa-rex", np.mean(scores), np.mean(last), len(scores))


def main():
    gqa_rex()
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
        "Texts, references, and their scores by pycocoevalcap 1.2; a data set laid out as GQA-REX, with its grounding score as a mean over painted pixels; with NumPy " + np.__version__ + ".",
        {"scores": 1e-9, "gqa-rex": 1e-9},
        "The same sums in double precision, in another order; pixels are counted exactly.",
    )
    for one in sets:
        print(len(one["texts"]), one["bleu"], one["rouge_l"], one["cider"])


if __name__ == "__main__":
    main()

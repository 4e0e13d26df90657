"""Scores of benchmarks by their own scripts, and a Parquet file: `fixtures/benchmark`.

The scripts are run, not copied: they lie in a folder of clones that is the first argument (default `official`), made by

    git clone https://github.com/GT-Vision-Lab/VQA            a013f00
    git clone https://github.com/AoiDragon/POPE               08d957b
    git clone https://github.com/LisaAnne/Hallucination       6e4d33c
    git clone https://github.com/clips/pattern                d25511f

Three of them are for Python 2: what is only print is taken out of the text before it is run. MME's script comes as an archive, and its rule is written
here: an answer is its first four characters in lower case, `yes` if that holds `yes`, else `no` if it holds `no`.
"""

import io
import json
import re
import sys
import types
from pathlib import Path


import common

FOLDER = common.FIXTURES / "benchmark"
OFFICIAL = Path(sys.argv[1] if len(sys.argv) > 1 else "official")


def script(*parts):
    """The text of a script, every `print` replaced by `pass`; one over several lines to its closing bracket."""
    lines, out, open_brackets = (OFFICIAL.joinpath(*parts)).read_text(encoding="utf-8").split("\n"), [], 0
    for line in lines:
        if open_brackets > 0:
            open_brackets += line.count("(") - line.count(")")
        elif line.strip().startswith("print ") or line.strip().startswith("print("):
            open_brackets = line.count("(") - line.count(")")
            out.append(line[: len(line) - len(line.lstrip())] + "pass")
        else:
            out.append(line)
    return "\n".join(out)


def vqa(rng):
    space = {}
    exec(script("VQA", "PythonEvaluationTools", "vqaEvaluation", "vqaEval.py"), space)
    words = ["yes", "no", "two", "2", "a cat", "cat", "the cat", "Cat", "dont", "don't", "1,000", "1000", "1,000 dogs, cats", "red/blue", "red blue", "3.5", "e.g.", "left-hand", "left hand", "what's up", "None", "none",
             "0", "an apple!", "apple", "apple ?", "(apple)", "ow's'at", "ten past ten", "U.S.A.", "u.s.a", "it's", "its", " on \t top\n", "on top", "a", "the", "Im", "somebody'd", "white, black", "white,black", "50%", "\u00c4pfel", "5 o'clock", "5 oclock", "\u0662", "....................................x", "x_y", "@home", "couldn'tve", "wheres"]
    questions, answers, results, groups = {}, {}, {}, []
    for q in range(120):
        some = [words[i] for i in rng.integers(len(words), size=rng.integers(1, 4))]
        ten = [some[i] for i in rng.integers(len(some), size=10)]
        said = some[0] if rng.random() < 0.7 else words[rng.integers(len(words))]
        said = str(said).upper() if rng.random() < 0.1 else said
        questions[q] = {"answers": [{"answer": answer, "answer_id": i + 1, "answer_confidence": "yes"} for i, answer in enumerate(ten)], "question_type": "what", "answer_type": ["yes/no", "number", "other"][q % 3]}
        answers[q], results[q] = list(ten), said
    gts = types.SimpleNamespace(getQuesIds=lambda: list(questions), qa=questions)
    res = types.SimpleNamespace(qa={q: {"answer": said} for q, said in results.items()})
    run = space["VQAEval"](gts, res, n=12)
    run.updateProgress = lambda progress: None
    run.evaluate()
    cases = [[results[q], answers[q], questions[q]["answer_type"], run.evalQA[q]] for q in questions]
    return {"cases": cases, "overall": run.accuracy["overall"], "by type": run.accuracy["perAnswerType"]}


def pope(rng):
    said = ["Yes", "No", "no", "yes, there is", "There is no dog.", "I do not see one. Yes", "Not here", "not", "No,", "None", "yes. no", "No. Yes", "know", "nothing", "NO", "There is a dog", "there,no", "a\nno", "no\n", "it does n,ot", " no", "", "."]
    label = [["no", "yes"][i] for i in rng.integers(2, size=80)]
    answer = [said[i] for i in rng.integers(len(said), size=80)]
    files = {"a": "\n".join(json.dumps({"question": "?", "answer": text}) for text in answer), "l": "\n".join(json.dumps({"label": word}) for word in label)}
    space = {"open": lambda name, mode: io.StringIO(files[name])}
    text = (OFFICIAL / "POPE" / "evaluate.py").read_text().replace("ans_file = ''", "ans_file = 'a'").replace("label_file = ''", "label_file = 'l'")
    exec(re.sub(r"^print.*$", "", text, flags=re.M), space)
    names = {"accuracy": "acc", "precision": "precision", "recall": "recall", "F1": "f1", "yes ratio": "yes_ratio"}
    read = [entry["answer"] for entry in space["answers"]]
    return {"cases": [list(case) for case in zip(answer, label, read)], "scores": {name: space[own] for name, own in names.items()}, "counts": [space[x] for x in ("TP", "FP", "TN", "FN")]}


def mme(rng):
    said = ["Yes", "No", "yes.", "No, it is", "The answer is yes", "Y", "nope", "I'd say yes", "not", "A: yes", "", "yes no", "it no"]
    tasks = {}
    for task, pictures in [("existence", 9), ("color", 8), ("code_reasoning", 5)]:
        rows = []
        for i in range(pictures):
            for answer in ["Yes", "No"] if rng.random() < 0.5 else ["No", "Yes"]:
                text = answer if rng.random() < 0.5 else said[rng.integers(len(said))]
                rows.append([f"{i}.jpg", answer, str(text)])
        tasks[task] = rows
    read = lambda text: (lambda four: "yes" if "yes" in four else "no" if "no" in four else "other")(text.lower()[:4])
    scores = {}
    for task, rows in tasks.items():
        right = [read(text) == answer.lower() for _, answer, text in rows]
        pairs = [right[i] and right[i + 1] for i in range(0, len(right), 2)]
        scores[task] = {"acc": sum(right) / len(right), "acc+": sum(pairs) / len(pairs), "other": sum(read(text) == "other" for *_, text in rows)}
    return {"tasks": tasks, "scores": scores}


SYNONYMS = """person, girl, boy, man, woman, child, people, firefighter
bicycle, bike
airplane, plane, air plane, jet
bus, minibus
train, locomotive
traffic light, street light, stop light
bird, goose, seagull
dog, puppy
cat, kitten
bear, panda
tie, bow tie
wine glass
knife, knive
hot dog
chair, seat, stool
toilet
cell phone, mobile phone, phone
teddy bear, teddybear
skis, ski
scissors
couch, sofa
leaf
"""
CAPTIONS = [
    "A man and two women sit on chairs near a dog.", "Three dogs chase a cat; the cat climbs a street light!", "A baby bear sits by the toilet, on the toilet seat.", "The people ride their bikes past a bus.", "Two wine glasses and a knife on the table",
    "a hot dog (with mustard), a cell phone & a sofa.", "The passenger train stops: a firefighter's puppy barks...", "Geese fly over the air plane.", "An adult dog and its puppies' toys.", "A teddy bear with a bow tie, holding knives.",
    "\"Dogs\", he said, \"are men's best friends\".", "Minibuses and buses, planes/jets.", "The skis are on skis; skiers ski.", "Scissors? No scissors here.", "leaves, a leaf and loaves", "A traffic light--a stop light--turns red", "Children play [with kittens] on couches",
    "There’s a dog “big”, he’d say.", "dogs: cats, birds:3", "``dogs'' ''cats''", "dog. \"Cat.\" (bird.) man.]", "I'll pet y'all's dogs; they're o'clock'ed", "a*b #dog $5 %cat dog_cat e-mail -- the end--", "gimme a dog, lemme see 'tis cats cannot more'n dogs",
    "A woman's cat can't see the bird. Seagulls fly. The end", "It costs 1,000 dogs, 2,cats", "hot dogs and mobile phones", "toilets with seats", "A seat near the toilet and a seat", "The dog's bowl, the dogs' bowl, 'dog' and dog'", "pandas...dogs", "don't feed the bears!dogs", "four policemen wanna ride bicycles", "", "nothing of note",
]


def chair(rng):
    import nltk
    from nltk.tokenize import NLTKWordTokenizer, PunktSentenceTokenizer

    inflect = (OFFICIAL / "pattern" / "pattern" / "text" / "en" / "inflect.py").read_text(encoding="utf-8")
    plurals = {"re": re, "NOUN": "NN", "plural_prepositions": set(re.findall(r'"([a-z-]+)"', re.search(r"plural_prepositions = set\(\((.*?)\)\)", inflect, re.S)[1]))}
    exec(inflect[inflect.index("singular_rules = [") : inflect.index("#### VERB CONJUGATION")], plurals)
    # As trained for no language: every full stop behind a word ends a sentence.
    tokens = lambda text: [token for sentence in PunktSentenceTokenizer().tokenize(text) for token in NLTKWordTokenizer().tokenize(sentence)]
    nltk.word_tokenize = tokens
    english = types.ModuleType("pattern.en")
    english.singularize, english.tag = plurals["singularize"], None
    sys.modules |= {"pattern": types.ModuleType("pattern"), "pattern.en": english}
    space = {"__name__": "chair"}
    exec(script("Hallucination", "utils", "chair.py").replace("from nltk.stem import *", "").replace("from misc import *", "").replace("lemma = nltk.wordnet.WordNetLemmatizer()", ""), space)
    space["open"] = lambda name: io.StringIO(SYNONYMS)
    run = space["CHAIR"](range(len(CAPTIONS)), "")
    sentences = [[caption, *map(list, run.caption_to_words(caption)[:2])] for caption in CAPTIONS]
    # What is in the picture: classes that are marked, and what people said of it.
    classes = [line.split(", ")[0] for line in SYNONYMS.splitlines()]
    pictures = []
    for i in range(len(CAPTIONS)):
        marked = [classes[j] for j in sorted(set(rng.integers(len(classes), size=rng.integers(0, 4))))]
        said = [CAPTIONS[j] for j in rng.integers(len(CAPTIONS), size=2)]
        pictures.append([marked, said])
        run.imid_to_objects[i] = set(run.inverse_synonym_dict[name] for name in marked) | set(node for text in said for node in run.caption_to_words(text)[1])
    none = dict.fromkeys(("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "CIDEr", "SPICE", "ROUGE_L"), 0)
    run._load_generated_captions_into_evaluator = lambda name: None
    run.caps, run.metrics = [none | {"image_id": i, "caption": caption} for i, caption in enumerate(CAPTIONS)], none
    out = run.compute_chair("")
    by_sentence = [[s["metrics"]["CHAIRs"], s["metrics"]["CHAIRi"], s["mscoco_hallucinated_words"]] for s in out["sentences"]]
    # What OPERA's copy of the script adds: objects that are there and were named, over those that are there; words of a caption.
    there = [run.imid_to_objects[i] for i in range(len(CAPTIONS))]
    named = sum(len(set(nodes) & there[i]) for i, (_, _, nodes) in enumerate(sentences))
    overall = {"CHAIRs": out["overall_metrics"]["CHAIRs"], "CHAIRi": out["overall_metrics"]["CHAIRi"], "recall": named / sum(map(len, there))}
    words = "boxes buses bus glasses glass quizzes matrices vertices oxen octopi crises axes shoes potatoes mice lice dresses movies zombies series babies toys wolves leaves calves knives wives elves hives drives analyses bases diagnoses hypotheses roses noses data media news women men people children teeth feet geese dies ties pies cookies scissors species sheep deer fish our four bread cheeses mothers-in-law dogs' brother-in-law hot-dogs cod ss s x as is gas tennis skis oranges benches brushes foxes atlases beeves moves status alias aliases statuses viri sofas curves olives wharves doves gloves sleeves selves opera penises cellulose fructose apotheoses synopses formulae arthritis gateaux quiz data-sets".split()
    singular = [[word, run and plurals["singularize"](word)] for word in words]
    return {"synonyms": SYNONYMS, "sentences": sentences, "pictures": pictures, "by sentence": by_sentence, "overall": overall, "singular": singular, "tokens": [[caption, tokens(caption.lower())] for caption in CAPTIONS]}


def parquet():
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def png(level):
        out = io.BytesIO()
        Image.new("RGB", (1, 1), (level,) * 3).save(out, "png")
        return out.getvalue()

    rows = range(40)
    table = pa.table({
        "qid": pa.array([100 + i for i in rows], pa.int64()),
        "question": [f"what is {i}?" for i in rows],
        "truth": [None if i % 3 == 0 else f"answer {i}" for i in rows],
        "weight": pa.array([i / 4 for i in rows], pa.float64()),
        "image": pa.array([{"bytes": png(i), "path": f"{i}.png"} for i in rows], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    })
    FOLDER.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, FOLDER / "own.parquet", row_group_size=16, compression="snappy")
    pq.write_table(pa.table({"question": ["a"], "answer": [["b", "c"]]}), FOLDER / "lists.parquet")


def main():
    for name, commit in [("VQA", "a013f00"), ("POPE", "08d957b"), ("Hallucination", "6e4d33c"), ("pattern", "d25511f")]:
        assert (OFFICIAL / name).is_dir(), f"clone {name} at {commit} into {OFFICIAL}: see the top of this file"
    parquet()
    # Compact, so that a case is a line.
    for name, make in {"vqa": vqa, "pope": pope, "mme": mme, "chair": chair}.items():
        value = make(common.rng(14, name))
        body = ",\n".join(f" {json.dumps(key)}: " + ("[\n  " + ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in of) + "]" if isinstance(of, list) else json.dumps(of, ensure_ascii=False)) for key, of in value.items())
        (FOLDER / f"{name}.json").write_text("{\n" + body + "\n}\n", encoding="utf-8")
    common.why(
        FOLDER,
        "benchmark.py",
        "What the scripts of VQA v2 (GT-Vision-Lab/VQA a013f00), POPE (AoiDragon/POPE 08d957b) and CHAIR (LisaAnne/Hallucination 6e4d33c, with clips/pattern d25511f and NLTK 3.10.4) "
        "make of answers, and MME's rule by hand; a Parquet file by pyarrow 26.0.1.",
        {"a share": 1e-12, "what is read of an answer": 0},
        "Counts and texts are equal. Shares are quotients of the same counts in double precision; the largest difference of a score is 2e-16. VQA's script rounds accuracies in percent to twelve digits, which is 5e-15 of a share.",
    )


if __name__ == "__main__":
    main()

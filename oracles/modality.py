"""What `llava-a` and `clip-a` make of every picture with every words, in transformers: `fixtures/methods/modality-*.safetensors`.

Of `llava-a` the logits of the token each case would say, and the log-probability of every class as an answer, for all prompts about all pictures; of `clip-a` the
similarity of all captions with all pictures. Which of them stand in for one another, the tests pick by the permutations that mmlens states.
"""

import common
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER

PICTURES = ["square", "wide", "tall", "tiny"]
PROMPTS = ["<image>Red?", "<image>Big?", "<image>Is it big", "<image>left of a", "<image>it"]
# Of one token each, and of three.
CLASSES = {"one": ["c", "j", "M"], "many": ["big", "left", "Red"]}
CAPTIONS = ["a photo of a red circle", "a cat", "two blue squares", "the small star", "ring"]
CASES = 11


def image(name):
    return Image.open(pictures.FOLDER / f"{name}.png")


def answer(tokenizer, prompt, text):
    """The tokens of an answer behind a prompt that is taken as it is."""
    own, both = tokenizer(prompt).input_ids, tokenizer(prompt + text).input_ids
    return both[len(own) :] if both[: len(own)] == own else tokenizer(text, add_special_tokens=False).input_ids


def language():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    tokenizer = checkpoint.processor.tokenizer
    shape = (len(PROMPTS), len(PICTURES))
    last, out, about = {}, {}, {"prompts": PROMPTS, "pictures": PICTURES, "classes": CLASSES, "checkpoint": "fixtures/llava-a/model"}
    for kind, classes in CLASSES.items():
        scores = torch.zeros(*shape, len(classes), dtype=torch.float64)
        for at, prompt in enumerate(PROMPTS):
            for of, name in enumerate(PICTURES):
                batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [image(name)]}])
                start = batch.input_ids.shape[1]
                for number, text in enumerate(classes):
                    tokens = answer(tokenizer, prompt, text)
                    assert len(tokens) == {"one": 1, "many": 3}[kind]
                    ids = torch.cat([batch.input_ids, torch.tensor([tokens])], 1)
                    with torch.no_grad():
                        logits = checkpoint.model(input_ids=ids, pixel_values=batch.pixel_values, use_cache=False).logits[0].double()
                    logs = logits.log_softmax(-1)
                    scores[at, of, number] = sum(logs[start + i - 1, token] for i, token in enumerate(tokens))
                    last[at, of] = logits[start - 1]
        out[f"classes.{kind}"] = scores
        about[f"smallest gap of {kind}"] = float(scores.sort(-1).values.diff(dim=-1)[..., -1].min())
    own = lambda i: last[i % len(PROMPTS), i % len(PICTURES)]
    # What the case would say, or a token of its own.
    tokens = [int(own(i).argmax()) if i % 2 == 0 else 40 + i for i in range(CASES)]
    grid = torch.stack([torch.stack([last[at, of] for of in range(shape[1])]) for at in range(shape[0])])
    out |= {"objectives": torch.stack([grid[:, :, token] for token in tokens]), "tokens": torch.tensor(tokens)}
    out = {name: x if x.dtype == torch.int64 else x.float() for name, x in out.items()}
    common.save(FOLDER / "modality-llava-a.safetensors", out, about)
    print("llava-a", {name: list(x.shape) for name, x in out.items()}, about)


def captions():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "clip-a" / "model")
    batch = trace.prepare(checkpoint, [{"images": [image(name) for name in PICTURES], "texts": CAPTIONS}])
    with torch.no_grad():
        logits = checkpoint.model(**batch.kwargs()).logits_per_image
    about = {"captions": CAPTIONS, "pictures": PICTURES, "checkpoint": "fixtures/clip-a/model"}
    common.save(FOLDER / "modality-clip-a.safetensors", {"logits": logits.float()}, about)
    print("clip-a", logits)


if __name__ == "__main__":
    language()
    captions()

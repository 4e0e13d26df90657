"""How well captions and their foils fit pictures and their mean colour, in transformers: `fixtures/methods/pairs-*.safetensors`.

`clip-a`: similarities; `blip-itm`: logits of "match" less "no match"; `llava-a`: log-probabilities of the text as an answer, and how many tokens it has. The mean colour of a picture is
the mean of each channel over all pixels, rounded.
"""

import common
import numpy as np
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER
from modality import PICTURES, answer

# The caption first, then what rules make of it.
TEXTS = [["a red circle", "a blue circle", "an orange circle", "a red star"], ["the small star", "the small circle", "the large star"]]
PROMPT = "<image>Red?"


def shown(name, blank):
    image = Image.open(pictures.FOLDER / f"{name}.png").convert("RGB")
    if not blank:
        return image
    mean = np.asarray(image, dtype=np.float64).reshape(-1, 3).mean(0).round().astype(np.uint8)
    return Image.new("RGB", image.size, tuple(int(level) for level in mean))


def every(score):
    """`[texts][picture, blank, text]`."""
    return {str(i): torch.stack([torch.stack([score(shown(name, blank), texts) for blank in (False, True)]) for name in PICTURES]) for i, texts in enumerate(TEXTS)}


def save(name, found, more=None):
    about = {"texts": TEXTS, "pictures": PICTURES, "checkpoint": f"fixtures/{name}/model"} | (more or {})
    common.save(FOLDER / f"pairs-{name}.safetensors", {key: x.float() for key, x in found.items()}, about)
    print(name, {key: x.tolist() for key, x in found.items()}, more)


def main():
    clip = trace.open_checkpoint(common.FIXTURES / "clip-a" / "model")

    def similarity(image, texts):
        batch = trace.prepare(clip, [{"images": [image], "texts": texts}])
        with torch.no_grad():
            return clip.model(**batch.kwargs()).logits_per_image[0]

    save("clip-a", every(similarity))

    blip = trace.open_checkpoint(common.FIXTURES / "blip-itm" / "model")

    def match(image, texts):
        scores = []
        for text in texts:
            batch = trace.prepare(blip, [{"images": [image], "prompt": text}])
            with torch.no_grad():
                scores.append(blip.model(**batch.kwargs()).itm_score[0].double())
        return torch.stack([score[1] - score[0] for score in scores])

    save("blip-itm", every(match))

    llava = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    tokenizer = llava.processor.tokenizer

    def said(image, texts):
        batch = trace.prepare(llava, [{"prompt": PROMPT, "images": [image]}])
        start, scores = batch.input_ids.shape[1], []
        for text in texts:
            tokens = answer(tokenizer, PROMPT, text)
            ids = torch.cat([batch.input_ids, torch.tensor([tokens])], 1)
            with torch.no_grad():
                logs = llava.model(input_ids=ids, pixel_values=batch.pixel_values, use_cache=False).logits[0].double().log_softmax(-1)
            scores.append(sum(logs[start + i - 1, token] for i, token in enumerate(tokens)))
        return torch.stack(scores)

    counts = [[len(answer(tokenizer, PROMPT, text)) for text in texts] for texts in TEXTS]
    save("llava-a", every(said), {"prompt": PROMPT, "tokens": counts})


if __name__ == "__main__":
    main()

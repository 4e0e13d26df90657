"""What every Python side shares: models, inputs, a piece of work and which part of it is done."""

import dataclasses
import random
import time
import typing

import torch
from safetensors.torch import load_file

# As on the other side: numbers of a read place, and every so many-th pixel.
SHOWN, STEP = 32, 7
NODES = 50


@dataclasses.dataclass
class Work:
    """`run` does it all once and gives an outcome and the seconds of it that grow with the number of `cells`; `result` takes what is
    compared from an outcome."""

    run: typing.Callable
    result: typing.Callable
    # Which cells of a grid of `total` are done; all, if there are none.
    cells: list | None = None
    total: int = 0

    def timed(self):
        begin = time.perf_counter()
        outcome, swept = self.run()
        seconds = time.perf_counter() - begin
        if self.cells is not None:
            seconds += swept * (self.total / len(self.cells) - 1)
        return outcome, seconds * 1e3


def whole(run, result):
    return Work(lambda: (run(), 0.0), result)


def some(cases_cells, total):
    """So many cells of a grid, or all of it."""
    if cases_cells is None or cases_cells >= total:
        return list(range(total))
    return sorted(random.Random(0).sample(range(total), cases_cells))


class Seeing:
    """A language model that is shown a picture."""

    def __init__(self, name, folder, kind=None):
        from transformers import LlavaForConditionalGeneration, SmolVLMForConditionalGeneration

        kind = kind or {"shapes": LlavaForConditionalGeneration, "smolvlm": SmolVLMForConditionalGeneration}[name]
        self.hf = kind.from_pretrained(folder / name).eval().requires_grad_(False)
        self.text = self.hf.model.language_model if name == "shapes" else self.hf.model.text_model
        self.path = "model.language_model" if name == "shapes" else "model.text_model"
        config = self.text.config
        self.blocks, self.heads = config.num_hidden_layers, config.num_attention_heads
        self.width = config.hidden_size // self.heads
        self.inputs = {which: self.load(name, folder, which) for which in ("clean", "other")}
        self.positions = self.inputs["clean"]["input_ids"].shape[1]

    @staticmethod
    def load(name, folder, which):
        stored = load_file(folder / f"{name}-{which}.safetensors")
        pixels = stored["pixel_values"]
        return {"input_ids": stored["input_ids"], "pixel_values": pixels[None] if name == "smolvlm" else pixels}

    def last(self, which="clean", **other):
        """Logits of the last position, `[rows, vocab]`."""
        return self.hf(**self.inputs[which] | other, use_cache=False, logits_to_keep=1).logits[:, -1]

    def of_pixels(self, pixels):
        ids = self.inputs["clean"]["input_ids"].expand(pixels.shape[0], -1)
        return self.last(input_ids=ids, pixel_values=pixels)


class Classifier:
    """ViT-B/32 with 1000 classes."""

    def __init__(self, folder):
        from transformers import ViTForImageClassification

        self.hf = ViTForImageClassification.from_pretrained(folder / "b32").eval().requires_grad_(False)
        self.inputs = {"clean": {"pixel_values": load_file(folder / "b32-clean.safetensors")["pixel_values"]}}

    def of_pixels(self, pixels):
        return self.hf(pixel_values=pixels).logits


def seeing_or_classifier(name, folder):
    return Classifier(folder) if name == "b32" else Seeing(name, folder)


def pixels(folder, rows):
    return load_file(folder / "inputs.safetensors")["pixels"][:rows]


def ids(folder):
    return load_file(folder / "inputs.safetensors")["ids"].long()[None]


def decoder(folder):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder / "lm").eval().requires_grad_(False)


def shown(logits, kept):
    return torch.cat([logits.reshape(-1), *(x.reshape(-1)[-SHOWN:] for x in kept)])


def grid(model, kind):
    """Layer and place (position or head) of every cell."""
    places = model.positions if kind == "patch" else model.heads
    return [(layer, place) for layer in range(model.blocks) for place in range(places)]


def swept(cells, one):
    """The outcome of `one` for each cell, and how long they took together."""
    begin = time.perf_counter()
    values = [one(cell) for cell in cells]
    return values, time.perf_counter() - begin

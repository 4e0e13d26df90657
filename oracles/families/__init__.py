"""One module per family of models, chosen by `model_type` in `config.json`.

A family has

    open(folder, backend="pil", **config) -> Checkpoint     float32, explicit attention, no parameter with a gradient
    prepare(checkpoint, rows) -> Batch                      rows as in a trace's `about`, names of pictures replaced by pictures
    attach(recorder, checkpoint)                            tells the recorder where the sites are
    verify(checkpoint, batch, sites, recorder)              the library's own outputs, and the equations (`verify.py`)

and, where a language model's do not fit, `arguments(batch)`, `forward(model, given)` and `generating(checkpoint, batch, **how)`; see `passes.py`. One
with a recorder of its own has `tensors`, as there, in place of `attach` and `verify`.
"""

import importlib
import json
from pathlib import Path

FAMILIES = {
    "llava": "llava",
    "llava_next": "llava_next",
    "smolvlm": "idefics3",
    "idefics3": "idefics3",
    "clip": "dual",
    "siglip": "dual",
    "vit": "vit",
    "bert": "bert",
    "blip": "blip",
    "qwen2_vl": "qwen_vl",
    "qwen2_5_vl": "qwen_vl",
    "qwen3_vl": "qwen_vl",
    "whisper": "whisper",
    "qwen2_audio": "qwen2_audio",
    "gpt2": "text",
    "llama": "text",
    "mistral": "text",
    "qwen2": "text",
    "qwen3": "text",
    "gemma2": "text",
}


def of(folder):
    """The module for a checkpoint's folder."""
    kind = json.loads((Path(folder) / "config.json").read_text())["model_type"]
    if kind not in FAMILIES:
        raise SystemExit(f"no family for model_type `{kind}`; there is one for {', '.join(FAMILIES)}")
    return importlib.import_module(f"families.{FAMILIES[kind]}")


def open_checkpoint(folder, backend="pil", **config):
    """`backend` chooses the image processor: `pil` is what mmlens follows, `torchvision` what transformers takes by default."""
    family = of(folder)
    checkpoint = family.open(str(folder), backend, **config)
    checkpoint.model.eval().requires_grad_(False)
    checkpoint.family = family
    return checkpoint

"""One recorded pass, greedy generation and the contents of a trace file, for any family."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch

from recorder import Recorder
from verify import begins, close


# What enters a tower: the model's argument, and the site.
ENTRIES = {"pixel_values": "vision.pixels", "input_features": "audio.mel"}


@dataclass
class Checkpoint:
    """`processor` makes inputs: a processor, or a tokenizer alone. `family` is its module in `families`."""

    model: Any
    processor: Any
    folder: str
    family: Any = None

    @property
    def tokenizer(self):
        return getattr(self.processor, "tokenizer", self.processor)


@dataclass
class Batch:
    """What the model is given. `prompts` is the text before placeholders are expanded; `more` holds what only some families have."""

    input_ids: torch.Tensor | None
    attention_mask: torch.Tensor | None
    pixel_values: torch.Tensor | None = None
    prompts: list[str] = field(default_factory=list)
    more: dict = field(default_factory=dict)
    # Families whose positions are no plain count leave them to the model.
    counts: bool = True
    # Log-mel spectrograms, [clip mel frame].
    input_features: torch.Tensor | None = None

    @property
    def position_ids(self):
        """Positions count real tokens only, as `generate` does; padding is hidden and its position does not matter."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    def shown(self):
        """What towers are given, by the names of the model's arguments."""
        return {name: x for name in ENTRIES if (x := getattr(self, name)) is not None}

    def kwargs(self):
        given = {"input_ids": self.input_ids, "attention_mask": self.attention_mask} | self.shown()
        return {name: x for name, x in given.items() if x is not None} | self.more

    def passing(self):
        """The arguments of one pass without a cache."""
        return self.kwargs() | ({"position_ids": self.position_ids} if self.counts else {}) | {"use_cache": False}


def language(model, given):
    """The outputs of a language model, and the objective's place: logits [row, vocab] at the last position."""
    logits = model(**given).logits
    return {"logits": logits}, logits[:, -1]


def run(checkpoint, batch, grads=(), target="argmax", check=True):
    """One recorded pass. Returns (sites, gradients by site, target ids).

    A family may have its own `forward(model, given)`, which returns its outputs by name and a matrix [row, class] that the target chooses from.
    """
    model, family = checkpoint.model, checkpoint.family
    given = family.arguments(batch) if hasattr(family, "arguments") else batch.passing()
    with_gradient = bool(grads)
    if with_gradient:
        given |= {name: x.clone().requires_grad_() for name, x in batch.shown().items()}
    recorder = Recorder(model, with_gradient)
    family.attach(recorder, checkpoint)
    with torch.set_grad_enabled(with_gradient), recorder:
        for name in batch.shown():
            recorder.keep(ENTRIES[name], given[name])
        outputs, choices = getattr(family, "forward", language)(model, given)
        for name, x in outputs.items():
            recorder.keep(name, x)
        ids = choices.argmax(-1) if target == "argmax" else torch.full((len(choices),), int(target))
        # Rows do not meet, so one backward pass of their sum gives each row its own gradient.
        objective = choices.gather(1, ids[:, None]).sum()
        gradients = {s: g.detach() for s, g in recorder.gradients(objective, grads).items()} if with_gradient else {}
        sites = recorder.sites()
    if check:
        with torch.no_grad():
            family.verify(checkpoint, batch, sites, recorder)
    return sites, gradients, ids


# Greedy, with the model's own logits beside the tokens.
GREEDY = {"do_sample": False, "num_beams": 1, "return_dict_in_generate": True, "output_logits": True}


def generate(checkpoint, batch, count, sites):
    """Greedy continuation; stops after an end token, which is kept. `generating(checkpoint, batch, **how)` of the family, if it has one."""
    own = getattr(checkpoint.family, "generating", None)
    how = GREEDY | {"max_new_tokens": count}
    with torch.no_grad():
        made = own(checkpoint, batch, **how) if own else checkpoint.model.generate(**batch.kwargs(), **how)
    begins(sites, made)
    return made.sequences[:, -len(made.logits) :]


def select(sites, selectors):
    """`*` stands for one segment, `1,3` for a list of them."""

    def pattern(selector):
        parts = ["[^.]+" if p == "*" else "(" + "|".join(map(re.escape, p.split(","))) + ")" for p in selector.split(".")]
        return re.compile(r"\.".join(parts))

    chosen = []
    for selector in selectors:
        hits = [s for s in sites if pattern(selector).fullmatch(s)]
        if not hits:
            raise KeyError(f"no site matches `{selector}`")
        chosen += hits
    return sorted(set(chosen))


# What `forward` of a family may give besides sites; always written.
OUTPUTS = ("image_embeds", "text_embeds", "logits_per_image", "itm_score")


def tensors(checkpoint, batch, read=None, count=0, grads=(), target="argmax", logits=True):
    """The contents of a trace file."""
    sites, gradients, ids = run(checkpoint, batch, grads, target)
    chosen = sites if read is None else {s: sites[s] for s in select(sites, read)}
    out = dict(chosen) | {"target": ids} | {name: sites[name] for name in OUTPUTS if name in sites}
    if batch.input_ids is not None:
        out["input_ids"] = batch.input_ids
    if logits and "logits" in sites:
        out["logits"] = sites["logits"]
    out |= {f"grad.{s}": g for s, g in gradients.items()}
    out |= batch.shown()
    out |= {name: x for name, x in batch.more.items() if isinstance(x, torch.Tensor)}
    if batch.input_ids is not None and len(batch.input_ids) > 1 and batch.attention_mask is not None:
        out["attention_mask"] = batch.attention_mask
        if batch.counts:
            out["position_ids"] = batch.position_ids
    if count:
        out["generated"] = generate(checkpoint, batch, count, sites)
    return out


__all__ = ["Batch", "Checkpoint", "close", "generate", "language", "run", "select", "tensors"]

"""TransformerLens: weights as they are, a run with hooks for every change.

It does not know SmolVLM by name; the same weights in transformers' Idefics3, which it knows, give the same numbers.
"""

import torch
from transformer_lens.model_bridge import TransformerBridge

from . import common
from .common import Work, whole


def prepare(case, folder, _):
    return read(case, folder) if case.kind == "read" else sweep(case, folder)


def bridge(hf, folder):
    from transformers import AutoTokenizer

    # It wants a tokenizer; tokens are given as numbers here.
    tokenizer = AutoTokenizer.from_pretrained(folder / "shapes")
    return TransformerBridge.boot_transformers(str(folder), hf_model=hf, tokenizer=tokenizer, device="cpu")


def read(case, folder):
    if case.what == "lm-128":
        model, given = bridge(common.decoder(folder), folder), common.ids(folder)
        more = {"prepend_bos": False, "logits_to_keep": 1}
    else:
        model, given, more = bridge(common.Classifier(folder).hf, folder), common.pixels(folder, 8 if case.what == "vit-8" else 1), {}

    @torch.no_grad()
    def run():
        logits, cache = model.run_with_cache(given, names_filter=lambda name: name.endswith("hook_resid_post"), **more)
        return logits, list(cache.values())

    return whole(run, lambda out: common.shown(*out))


def sweep(case, folder):
    from transformers import Idefics3ForConditionalGeneration

    model = common.Seeing(case.what, folder, Idefics3ForConditionalGeneration if case.what == "smolvlm" else None)
    if case.what == "smolvlm":
        model.hf.config.architectures = ["Idefics3ForConditionalGeneration"]
    grid = common.grid(model, case.kind)
    cells = common.some(case.cells, len(grid))
    lens = bridge(model.hf, folder)
    given = {which: (both["input_ids"], {"pixel_values": both["pixel_values"], "logits_to_keep": 1})
             for which, both in model.inputs.items()}

    @torch.no_grad()
    def run():
        patch = case.kind == "patch"
        ids, more = given["clean"]
        logits, cache = lens.run_with_cache(ids, names_filter=lambda name: patch and name.endswith("hook_resid_pre"), **more)
        token, (ids, more) = int(logits[0, -1].argmax()), given["other" if patch else "clean"]

        def one(cell):
            layer, place = grid[cell]

            def put(value, hook):
                value[:, place] = cache[f"blocks.{layer}.hook_resid_pre"][:, place]
                return value

            def silence(value, hook):
                # [batch, pos, head, d_head], or the heads side by side.
                heads = value.view(*value.shape[:2], model.heads, model.width)
                heads[:, :, place] = 0
                return value

            hook = (f"blocks.{layer}.hook_resid_pre", put) if patch else (f"blocks.{layer}.attn.hook_z", silence)
            return float(lens.run_with_hooks(ids, fwd_hooks=[hook], **more)[0, -1, token])

        return common.swept(cells, one)

    return Work(run, torch.tensor, cells, len(grid))

"""nnsight: a trace for every change. Inputs with pictures cannot share one."""

import nnsight
import torch

from . import common
from .common import Work, whole


def prepare(case, folder, _):
    return read(case, folder) if case.kind == "read" else sweep(case, folder)


def read(case, folder):
    if case.what == "lm-128":
        model = nnsight.NNsight(common.decoder(folder))
        layers, given = model.model.layers, {"input_ids": common.ids(folder), "use_cache": False, "logits_to_keep": 1}
    else:
        model = nnsight.NNsight(common.Classifier(folder).hf)
        layers, given = model.vit.layers, {"pixel_values": common.pixels(folder, 8 if case.what == "vit-8" else 1)}

    @torch.no_grad()
    def run():
        with model.trace(**given):
            kept = nnsight.save([])
            for layer in layers:
                kept.append(layer.output)
            logits = model.output.logits.save()
        return logits, kept

    return whole(run, lambda out: common.shown(*out))


def sweep(case, folder):
    model = common.Seeing(case.what, folder)
    grid = common.grid(model, case.kind)
    cells = common.some(case.cells, len(grid))
    traced = nnsight.NNsight(model.hf)
    text = traced.model.language_model if case.what == "shapes" else traced.model.text_model
    fixed = {"use_cache": False, "logits_to_keep": 1}

    @torch.no_grad()
    def run():
        patch = case.kind == "patch"
        with traced.trace(**model.inputs["clean"], **fixed):
            states = nnsight.save([])
            if patch:
                for layer in text.layers:
                    states.append(layer.input.clone())
            logits = traced.output.logits.save()
        token, changed = int(logits[0, -1].argmax()), model.inputs["other" if patch else "clean"]

        def one(cell):
            layer, place = grid[cell]
            with traced.trace(**changed, **fixed):
                if patch:
                    text.layers[layer].input[:, place] = states[layer][:, place]
                else:
                    text.layers[layer].self_attn.o_proj.input[:, :, place * model.width:(place + 1) * model.width] = 0
                logits = traced.output.logits.save()
            return float(logits[0, -1, token])

        return common.swept(cells, one)

    return Work(run, torch.tensor, cells, len(grid))

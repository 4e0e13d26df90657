"""What a careful user of PyTorch writes by hand: the picture is seen once, and several changes share a pass of the language model."""

import time

import torch

from . import common, plain
from .common import Work


def prepare(case, folder, setting):
    model = common.Seeing(case.what, folder)
    grid = common.grid(model, case.kind)
    cells = common.some(case.packed_cells, len(grid))
    rows = setting or 8

    @torch.inference_mode()
    def run():
        token, states, which = plain.start(model, case.kind)
        entered = []
        handle = model.text.layers[0].register_forward_pre_hook(lambda module, args: entered.append(args[0]))
        model.last(which)
        handle.remove()
        begin, values = time.perf_counter(), []
        for some in (cells[i:i + rows] for i in range(0, len(cells), rows)):
            values += packed(model, case.kind, states, entered[0], [grid[cell] for cell in some])[:, token].tolist()
        return values, time.perf_counter() - begin

    return Work(run, torch.tensor, cells, len(grid))


def packed(model, kind, states, entered, cells):
    """Logits of the last position, one row for each change."""
    handles = []
    for layer in sorted({layer for layer, _ in cells}):
        own = [(row, place) for row, (at, place) in enumerate(cells) if at == layer]
        block = model.text.layers[layer]
        if kind == "patch":
            handles.append(block.register_forward_pre_hook(plain.put([(*at, states[layer]) for at in own])))
        else:
            handles.append(block.self_attn.o_proj.register_forward_pre_hook(plain.silence(own, model.width)))
    try:
        states = model.text(inputs_embeds=entered.expand(len(cells), -1, -1), use_cache=False).last_hidden_state
        return model.hf.lm_head(states[:, -1])
    finally:
        for handle in handles:
            handle.remove()

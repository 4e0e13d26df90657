"""PyTorch and transformers, with plain hooks and plain loops."""

import torch
from safetensors.torch import load_file

from . import common
from .common import Work, whole


def prepare(case, folder, setting):
    return {"vit": vit, "prompt": lm, "decode": lm, "read": read, "patch": sweep, "heads": sweep, "ig": gradients,
            "occlusion": occlusion, "pictures": pictures, "positions": positions}[case.kind](case, folder, setting)


def vit(case, folder, _):
    from transformers import CLIPModel

    # Weights take no gradient: neither side computes any.
    model = CLIPModel.from_pretrained(folder / "vit").vision_model.eval().requires_grad_(False)
    pixels = common.pixels(folder, 8 if case.what.endswith("8") else 1)

    @torch.inference_mode()
    def see():
        return model(pixel_values=pixels).last_hidden_state[:, :1]

    def gradient():
        leaf = pixels.clone().requires_grad_(True)
        model(pixel_values=leaf).last_hidden_state[:, :1].sum().backward()
        return leaf.grad

    return whole(gradient if "grad" in case.what else see, lambda out: out)


def lm(case, folder, _):
    from transformers import DynamicCache

    model, ids = common.decoder(folder), common.ids(folder)

    @torch.inference_mode()
    def prompt():
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]

    @torch.inference_mode()
    def decode():
        cache, following, said = DynamicCache(config=model.config), ids[:, :16], []
        while len(said) < 64:
            out = model(input_ids=following, past_key_values=cache, use_cache=True, logits_to_keep=1)
            following = out.logits[:, -1].argmax(-1, keepdim=True)
            said.append(float(following))
        return torch.tensor(said)

    return whole(prompt if case.kind == "prompt" else decode, lambda out: out)


def pictures(case, folder, _):
    """The tower and its merger: the last position of the last picture."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "qwen").eval().requires_grad_(False).model.visual
    count = int(case.what)
    patches = load_file(folder / "inputs.safetensors")["patches"].repeat(count, 1)
    sizes = torch.tensor([[1, 60, 60]] * count)

    @torch.inference_mode()
    def run():
        return model(patches, grid_thw=sizes).pooler_output[-1]

    return whole(run, lambda out: out)


def positions(case, folder, _):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder / "long").eval().requires_grad_(False)
    count = int(case.what)
    ids = common.ids(folder).repeat(1, -(-count // 128))[:, :count]

    @torch.inference_mode()
    def run():
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]

    return whole(run, lambda out: out)


def read(case, folder, _):
    if case.what == "lm-128":
        model = common.decoder(folder)
        layers, given = model.model.layers, {"input_ids": common.ids(folder), "use_cache": False, "logits_to_keep": 1}
    else:
        model = common.Classifier(folder).hf
        layers, given = model.vit.layers, {"pixel_values": common.pixels(folder, 8 if case.what == "vit-8" else 1)}

    @torch.inference_mode()
    def run():
        kept = []
        handles = [layer.register_forward_hook(lambda module, args, out: kept.append(out)) for layer in layers]
        try:
            return model(**given).logits, kept
        finally:
            for handle in handles:
                handle.remove()

    return whole(run, lambda out: common.shown(*out))


def sweep(case, folder, _):
    """A complete pass for every change."""
    model = common.Seeing(case.what, folder)
    grid = common.grid(model, case.kind)
    cells = common.some(case.cells, len(grid))

    @torch.inference_mode()
    def run():
        token, states, which = start(model, case.kind)

        def one(cell):
            layer, place = grid[cell]
            if case.kind == "patch":
                change = put([(0, place, states[layer])])
                handle = model.text.layers[layer].register_forward_pre_hook(change)
            else:
                handle = model.text.layers[layer].self_attn.o_proj.register_forward_pre_hook(silence([(0, place)], model.width))
            try:
                return float(model.last(which)[0, token])
            finally:
                handle.remove()

        return common.swept(cells, one)

    return Work(run, torch.tensor, cells, len(grid))


def start(model, kind):
    """The clean run's top token, the stream before every block in it, and the picture that changes are made to."""
    states = []
    keep = lambda module, args: states.append(args[0].clone())
    handles = [layer.register_forward_pre_hook(keep) for layer in model.text.layers] if kind == "patch" else []
    token = int(model.last("clean").argmax())
    for handle in handles:
        handle.remove()
    return token, states, "other" if kind == "patch" else "clean"


def put(changes):
    """A hook that puts the state of another run into some rows and positions."""

    def hook(module, args):
        hidden = args[0].clone()
        for row, position, state in changes:
            hidden[row, position] = state[0, position]
        return (hidden, *args[1:])

    return hook


def silence(changes, width):
    """A hook that sets some heads of some rows to zero, before they are mixed."""

    def hook(module, args):
        z = args[0].clone()
        for row, head in changes:
            z[row, :, head * width:(head + 1) * width] = 0
        return (z,)

    return hook


def gradients(case, folder, _):
    import numpy

    model = common.seeing_or_classifier(case.what, folder)
    pixels, rows = model.inputs["clean"]["pixel_values"], 8
    at, weights = (torch.tensor(x, dtype=torch.float32) for x in numpy.polynomial.legendre.leggauss(common.NODES))

    def run():
        with torch.inference_mode():
            token = int(model.of_pixels(pixels).argmax())
        total = torch.zeros_like(pixels)
        for nodes, shares in zip(((at + 1) / 2).split(rows), (weights / 2).split(rows), strict=True):
            leaf = (nodes[:, None, None, None] * pixels).requires_grad_(True)
            model.of_pixels(leaf)[:, token].sum().backward()
            total += (shares[:, None, None, None] * leaf.grad).sum(0)
        return total * pixels

    return whole(run, lambda out: out.reshape(-1)[::common.STEP])


def occlusion(case, folder, _):
    model = common.seeing_or_classifier(case.what, folder)
    pixels, rows, side = model.inputs["clean"]["pixel_values"], 8, case.side
    count = pixels.shape[-1] // side

    @torch.inference_mode()
    def run():
        before = model.of_pixels(pixels)
        token, drops = int(before.argmax()), []
        for cells in torch.arange(count * count).split(rows):
            hidden = pixels.repeat(len(cells), 1, 1, 1)
            for row, cell in enumerate(cells.tolist()):
                y, x = cell // count * side, cell % count * side
                hidden[row, :, y:y + side, x:x + side] = 0
            drops.append(before[0, token] - model.of_pixels(hidden)[:, token])
        return torch.cat(drops)

    return whole(run, lambda out: out)

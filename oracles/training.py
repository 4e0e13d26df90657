"""Influence of training cases: gradients of weights by autograd, case by case, of towers, connectors and language models, their products, captum's TracInCP and traker's scores: `fixtures/methods/influence-*.safetensors`.

traker 0.3.2 is imported from the folder that `TRAKER` names: it is installed there with `pip install --no-deps --target FOLDER traker==0.3.2`, for it pins an older torch.
"""

import contextlib
import os
import sys

import common
import pictures
import torch
from captum.influence import TracInCP
from common import FIXTURES
from double import norms
from PIL import Image

import trace
from methods import FOLDER

sys.path.append(os.environ["TRAKER"])
from trak.score_computers import BasicScoreComputer  # noqa: E402

PICTURES = ["square", "wide", "tall", "clip-0", "tiny"]
TARGETS = [3, 0, 5, 3, 1]
PROMPTS = ["<image>Red?", "<image>What is it?", "<image>Blue or red?", "<image>Red?"]
RIDGE = 0.5
# The matrices of which captum and traker are given gradients, of a LLaVA.
FEW = ["vision.blocks.0.mlp.down", "connector.up", "text.blocks.1.mlp.down"]
RATES = [1.0, 0.25]


def gradients(parameters, values):
    """Of each value the gradients of all parameters, one behind the other, in double precision."""
    rows = []
    for value in values:
        grads = torch.autograd.grad(value, parameters, retain_graph=True)
        rows.append(torch.cat([g.double().flatten() for g in grads]))
    return torch.stack(rows)


def trak(phi, logs):
    """traker's scores of each case for each, `[train, target]`: its `X (X^T X + lambda)^-1`, scaled back, times `1 - p`."""
    phi = phi.double()
    ridge = RIDGE * float((phi.T @ phi).diagonal().mean())
    computer = BasicScoreComputer(dtype=torch.float64, device="cpu", lambda_reg=ridge)
    square = computer.get_xtx(phi)
    solved = computer.get_x_xtx_inv(phi, square)
    inverse = torch.linalg.inv((square + ridge * torch.eye(len(square), dtype=torch.float64)).float())
    scores = solved @ phi.T * inverse.abs().mean()
    exact = phi @ torch.linalg.inv(square + ridge * torch.eye(len(square), dtype=torch.float64)) @ phi.T
    left = -torch.expm1(logs.double())
    print("traker against double precision", float(((scores - exact).abs().max() / exact.abs().max())))
    return left[:, None] * scores, left[:, None] * exact


def vit():
    checkpoint = trace.open_checkpoint(FIXTURES / "vit-a" / "model")
    model = checkpoint.model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    pixels = [trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / f"{name}.png")]}]).pixel_values for name in PICTURES]
    said = [model(pixel_values=own).logits[0] for own in pixels]
    logs = torch.stack([torch.log_softmax(logits, -1)[target] for logits, target in zip(said, TARGETS)])
    weights = [model.classifier.weight]
    for block in model.vit.layers:
        a = block.attention
        weights += [a.q_proj.weight, a.k_proj.weight, a.v_proj.weight, a.o_proj.weight, block.mlp.fc1.weight, block.mlp.fc2.weight]
    whole, head = gradients(weights, logs), gradients(weights[:1], logs)
    # captum on the head alone, which has no bias of its own there: what the bias adds is in the loss.
    states = torch.stack([model.vit(pixel_values=own).last_hidden_state[0, 0] for own in pixels]).detach()
    bias = model.classifier.bias.detach()

    linear = torch.nn.Linear(states.shape[1], len(bias), bias=False)
    linear.weight.data = model.classifier.weight.detach().clone()
    data = torch.utils.data.TensorDataset(states, torch.tensor(TARGETS))

    class Summed(torch.nn.Module):
        reduction = "sum"

        def forward(self, out, target):
            return torch.nn.functional.cross_entropy(out + bias, target, reduction="sum")

    tracin = TracInCP(linear, data, ["only"], lambda *_: 1.0, loss_fn=Summed(), batch_size=2, sample_wise_grads_per_batch=True)
    captum = tracin.influence((states, torch.tensor(TARGETS)))
    own = tracin.self_influence()
    assert torch.allclose(captum.double(), head @ head.T, rtol=1e-4), (captum, head @ head.T)
    phi = head / -torch.expm1(logs.double())[:, None]
    by_traker, exact = trak(phi, logs)
    # Two heads on the same states: captum's sum over checkpoints, and TRAK's means of two models.
    heads = [model.classifier.weight.detach().clone(), 0.7 * model.classifier.weight.detach().flip(0)]

    def load(module, at):
        module.weight.data = heads[at].clone()
        return RATES[at]

    two = TracInCP(linear, data, [0, 1], load, loss_fn=Summed(), batch_size=2, sample_wise_grads_per_batch=True)
    captum_two = two.influence((states, torch.tensor(TARGETS)))
    products, lefts = [], []
    for weight in heads:
        w = weight.double().requires_grad_(True)
        said = torch.log_softmax(states.double() @ w.T + bias.double(), -1)
        answers = torch.stack([said[i, target] for i, target in enumerate(TARGETS)])
        left = -torch.expm1(answers)
        rows = gradients([w], answers) / left[:, None]
        square = rows.T @ rows
        square = square + RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
        products.append(rows @ torch.linalg.inv(square) @ rows.T)
        lefts.append(left)
    trak_two = (sum(lefts) / 2)[:, None] * sum(products) / 2
    out = {
        "heads": torch.stack(heads), "bias": bias, "captum.two": captum_two, "trak.two": trak_two,
        "logs": logs, "product": whole @ whole.T, "captum": captum, "captum.self": own,
        "traker": by_traker, "trak": exact, "states": states, "targets": torch.tensor(TARGETS),
        "first": head[0].reshape(model.classifier.weight.shape),
    }  # fmt: skip
    about = {"checkpoint": "fixtures/vit-a/model", "pictures": PICTURES, "ridge": RIDGE, "rates": RATES, "axes": "training case, case; captum: case, training case"}
    common.save(FOLDER / "influence-vit-a.safetensors", out, about)
    print(out["product"], captum, by_traker)


def of_tower(blocks, part, upto):
    """Matrices of the blocks of a tower of CLIP's kind, by the names that mmlens has for them."""
    names = {}
    for i, block in enumerate(blocks[:upto]):
        a, m, at = block.self_attn, block.mlp, f"{part}.blocks.{i}"
        names |= {f"{at}.attn.q": a.q_proj, f"{at}.attn.k": a.k_proj, f"{at}.attn.v": a.v_proj, f"{at}.attn.o": a.out_proj}
        names |= {f"{at}.mlp.up": m.fc1, f"{at}.mlp.down": m.fc2}
    return {name: module.weight for name, module in names.items()}


@contextlib.contextmanager
def double(model):
    """The model in float64, its norms too: what is left of a difference is the other side's."""
    replaced = norms(model)
    before = {kind: kind.forward for kind in replaced}
    for kind, forward in replaced.items():
        kind.forward = forward
    model.double()
    try:
        yield
    finally:
        for kind, forward in before.items():
            kind.forward = forward
        model.float()


def each(names, values):
    """The first two rows of every matrix's gradient of the first value, and products of all cases for each part."""
    first = torch.autograd.grad(values[0], list(names.values()), retain_graph=True)
    out = {f"gradient.{name}": grad[:2].float() for name, grad in zip(names, first)}
    for part in dict.fromkeys(name.split(".")[0] for name in names):
        rows = gradients([weight for name, weight in names.items() if name.startswith(part)], values)
        out[f"product.{part}"] = rows @ rows.T
    return out


def captum_on(model, products, batches, targets):
    """captum's TracInCP of the negative log-probability, with gradients of some products of a whole model. Their biases are made constants."""
    for product in products:
        if product.bias is not None:
            bias = product._parameters.pop("bias").detach()
            product.register_buffer("bias", bias)

    class Said(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, pixels):
            return self.model(input_ids=ids, pixel_values=pixels, use_cache=False).logits[:, -1]

    cases = [(batch.input_ids[0], batch.pixel_values[0], target) for batch, target in zip(batches, targets)]
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    said = Said()
    layers = [name for name, module in said.named_modules() if any(module is product for product in products)]
    tracin = TracInCP(said, cases, ["only"], lambda *_: 1.0, layers=layers, loss_fn=loss, batch_size=1, sample_wise_grads_per_batch=False)
    rows = [tracin.influence((ids[None], pixels[None], torch.tensor([target]))) for ids, pixels, target in cases]
    return torch.cat(rows)


CAPTIONS = ["a red square", "two blue circles", "it is wide", "a"]


def clip():
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    model = checkpoint.model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    with double(model):
        said = []
        for name, caption in zip(PICTURES, CAPTIONS):
            batch = trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / f"{name}.png")], "texts": [caption]}])
            given = {key: x.double() if x.is_floating_point() else x for key, x in batch.kwargs().items() if isinstance(x, torch.Tensor)}
            said.append(model(**given).logits_per_image[0, 0])
        names = of_tower(model.vision_model.encoder.layers, "vision", None) | {"vision.projection": model.visual_projection.weight}
        names |= of_tower(model.text_model.encoder.layers, "text", None) | {"text.projection": model.text_projection.weight}
        out = each(names, said) | {"said": torch.stack(said)}
    about = {"checkpoint": "fixtures/clip-a/model", "pictures": PICTURES[: len(CAPTIONS)], "captions": CAPTIONS, "numbers": sum(w.numel() for w in names.values())}
    common.save(FOLDER / "influence-clip-a.safetensors", out, about)
    print({name: value for name, value in out.items() if name.startswith("product")})


def llava():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    model = checkpoint.model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    logs, targets, batches = [], [], []
    for i, prompt in enumerate(PROMPTS):
        batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [Image.open(pictures.FOLDER / f"{PICTURES[i]}.png")]}])
        logits = model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False).logits[0, -1]
        batches.append(batch)
        targets.append(int(logits.argmax()) if i != 2 else 7)
        logs.append(torch.log_softmax(logits, -1)[targets[-1]])
    text = model.model.language_model
    weights = []
    for block in text.layers:
        a, m = block.self_attn, block.mlp
        weights += [a.q_proj.weight, a.k_proj.weight, a.v_proj.weight, a.o_proj.weight, m.gate_proj.weight, m.up_proj.weight, m.down_proj.weight]
    tied = model.lm_head.weight.data_ptr() == text.embed_tokens.weight.data_ptr()
    if not tied:
        weights.append(model.lm_head.weight)
    rows = gradients(weights, logs)
    one = gradients([text.layers[1].mlp.down_proj.weight], logs)
    # The tower as far as it is read: its state `layer` is what leaves that many blocks.
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    blocks = getattr(tower, "vision_model", tower).encoder.layers
    layer = model.config.vision_feature_layer
    upto = layer if layer >= 0 else len(blocks) + 1 + layer
    # What captum and traker are given: a matrix of each part.
    few = [blocks[0].mlp.fc2, projector.linear_1, text.layers[1].mlp.down_proj]
    of_few = gradients([product.weight for product in few], logs)
    with double(model):
        exact = []
        for batch, target in zip(batches, targets):
            logits = model(input_ids=batch.input_ids, pixel_values=batch.pixel_values.double(), use_cache=False).logits[0, -1]
            exact.append(torch.log_softmax(logits, -1)[target])
        seen = of_tower(blocks, "vision", upto)
        seen |= {"connector.up": projector.linear_1.weight, "connector.down": projector.linear_2.weight}
        parts = each(seen, exact)
    logs = torch.stack(logs)
    captum = captum_on(model, few, batches, targets)
    assert torch.allclose(captum.double(), of_few @ of_few.T, rtol=1e-4), (captum, of_few @ of_few.T)
    by_traker, exact = trak(of_few / -torch.expm1(logs.double())[:, None], logs)
    out = {"logs": logs, "targets": torch.tensor(targets), "product": rows @ rows.T, "down": one @ one.T}
    out |= parts | {"captum": captum, "traker": by_traker, "trak": exact}
    about = {"checkpoint": "fixtures/llava-a/model", "prompts": PROMPTS, "pictures": PICTURES[: len(PROMPTS)], "tied": tied, "numbers": rows.shape[1]}
    about |= {"seen": sum(w.numel() for w in seen.values()), "few": FEW, "ridge": RIDGE}
    common.save(FOLDER / "influence-llava-a.safetensors", out, about)
    print(about, out["product"])


if __name__ == "__main__":
    vit()
    llava()
    clip()

"""Influence of training cases: gradients of weights by autograd, case by case, their products, captum's TracInCP and traker's scores: `fixtures/methods/influence-*.safetensors`.

traker 0.3.2 is imported from the folder that `TRAKER` names: it is installed there with `pip install --no-deps --target FOLDER traker==0.3.2`, for it pins an older torch.
"""

import os
import sys

import common
import pictures
import torch
from captum.influence import TracInCP
from common import FIXTURES
from PIL import Image

import trace
from methods import FOLDER

sys.path.append(os.environ["TRAKER"])
from trak.score_computers import BasicScoreComputer  # noqa: E402

PICTURES = ["square", "wide", "tall", "clip-0", "tiny"]
TARGETS = [3, 0, 5, 3, 1]
PROMPTS = ["<image>Red?", "<image>What is it?", "<image>Blue or red?", "<image>Red?"]
RIDGE = 0.5
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


def llava():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    model = checkpoint.model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    logs, targets = [], []
    for i, prompt in enumerate(PROMPTS):
        batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [Image.open(pictures.FOLDER / f"{PICTURES[i]}.png")]}])
        logits = model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False).logits[0, -1]
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
    logs = torch.stack(logs)
    out = {"logs": logs, "targets": torch.tensor(targets), "product": rows @ rows.T, "down": one @ one.T}
    about = {"checkpoint": "fixtures/llava-a/model", "prompts": PROMPTS, "pictures": PICTURES[: len(PROMPTS)], "tied": tied, "numbers": rows.shape[1]}
    common.save(FOLDER / "influence-llava-a.safetensors", out, about)
    print(about, out["product"])


if __name__ == "__main__":
    vit()
    llava()

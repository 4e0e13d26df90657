"""The gradient of a right-for-the-right-reasons penalty by differentiating twice: `fixtures/methods/right-reasons.safetensors`.

A network of two layers and tanh, five cases of six numbers in three classes, a mask for each; in double precision.
"""

import common
import torch

from methods import FOLDER


def main():
    rng = common.rng(0, "right-reasons")
    draw = lambda *shape: torch.tensor(rng.standard_normal(shape), dtype=torch.float64)
    cases, width, hidden, classes = 5, 6, 8, 3
    x, w1, b1, w2, b2 = draw(cases, width), draw(hidden, width) * 0.6, draw(hidden) * 0.3, draw(classes, hidden) * 0.7, draw(classes) * 0.2
    outside = (draw(cases, width) > 0).double()
    outside[2] = 0  # nothing is held down there
    labels = torch.tensor([0, 2, 1, 1, 0])
    weights = [w.requires_grad_() for w in (w1, b1, w2, b2)]
    x.requires_grad_()
    said = torch.log_softmax(torch.tanh(x @ w1.T + b1) @ w2.T + b2, 1)[torch.arange(cases), labels]
    (grad,) = torch.autograd.grad(said.sum(), x, create_graph=True)
    penalty = (outside * grad).square().sum() / cases
    slopes = torch.autograd.grad(penalty, weights)
    print("penalty", float(penalty), "largest slopes", [float(s.abs().max()) for s in slopes])
    tensors = {"x": x, "outside": outside, "labels": labels, "penalty": penalty[None]}
    tensors |= {name: w for name, w in zip(["w1", "b1", "w2", "b2"], weights)} | {f"{name}.grad": s for name, s in zip(["w1", "b1", "w2", "b2"], slopes)}
    common.save(FOLDER / "right-reasons.safetensors", {name: t.detach() for name, t in tensors.items()}, {"cases": cases})


if __name__ == "__main__":
    main()

"""CF-VQA by the authors' own module on scores of `llava-a` and `smolvlm-a`, in transformers: `fixtures/methods/cfvqa-*.safetensors`.

The module is run, not copied: it lies in a clone that is the first argument (default `official/cfvqa`), made by

    git clone https://github.com/yuleiniu/cfvqa            736795b

`fusion` of its class `CFVQA` without a branch of the picture alone (`is_va=False`), in double precision. What it stands on (`block`, `.cuda()`) is not needed there and left out. Scores are
log-probabilities of answers less their mean over answers, of a picture and of one of its mean colour. The constant is the one that makes the authors' `kl_loss`
smallest between -20 and 20, found by scipy from the best of a grid; `given` are tables with a constant of 0.7.
"""

import importlib.util
import sys
import types
from pathlib import Path

import common
import numpy as np
import torch
from scipy.optimize import minimize_scalar

import trace
from causal import image, said
from methods import FOLDER
from modality import CASES, PICTURES, PROMPTS, answer

OFFICIAL = Path(sys.argv[1] if len(sys.argv) > 1 else "official/cfvqa")
CLASSES = ["big", "left", "Red"]
FUSIONS = ["hm", "sum", "rubi"]
GIVEN = 0.7


def reference():
    folder = OFFICIAL / "cfvqa" / "models" / "networks"
    for name in ("block", "block.models", "block.models.networks", "block.models.networks.mlp", "networks", "networks.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["block.models.networks.mlp"].MLP = torch.nn.Identity
    sys.modules["networks.utils"].grad_mul_const = None
    sys.modules["networks"].__path__ = [str(folder)]
    spec = importlib.util.spec_from_file_location("networks.cfvqa", folder / "cfvqa.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.Tensor.cuda = lambda self: self
    return module.CFVQA


def decomposed(cls, mode, k, q, constant):
    """TE, NDE and TIE of every answer, by the module's own fusion."""
    own = cls.__new__(cls)
    torch.nn.Module.__init__(own)
    own.fusion_mode, own.is_va = mode, False
    own.constant = torch.tensor(constant, dtype=torch.float64)
    fused = lambda q_fact, k_fact: own.fusion(k, q, None, q_fact=q_fact, k_fact=k_fact)
    whole, words, none = fused(True, True), fused(True, False), fused(False, False)
    return whole - none, words - none, whole - words, (whole, words)


def kl(cls, mode, k, q, constant):
    """`kl_loss` of the authors' criterion."""
    _, _, _, (whole, words) = decomposed(cls, mode, k, q, constant)
    return float((-whole.softmax(-1) * words.softmax(-1).log()).sum(1).mean())


def fitted(cls, mode, k, q):
    loss = lambda c: kl(cls, mode, k, q, c)
    grid = np.linspace(-20, 20, 161)
    best = float(min(grid, key=loss))
    found = minimize_scalar(loss, bounds=(max(-20, best - 0.3), min(20, best + 0.3)), method="bounded", options={"xatol": 1e-10})
    # How far from the smallest the loss is as small to a millionth: what is known of the constant.
    near = [c for c in np.linspace(found.x - 0.05, found.x + 0.05, 201) if loss(float(c)) < found.fun + 1e-9]
    return float(found.x), max(near) - min(near)


def main():
    cls = reference()
    for name in ("llava-a", "smolvlm-a"):
        checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        tokenizer = checkpoint.processor.tokenizer
        scores = torch.zeros(2, CASES, len(CLASSES), dtype=torch.float64)
        for i in range(CASES):
            prompt, picture = PROMPTS[i % len(PROMPTS)], PICTURES[i % len(PICTURES)]
            for flat in (0, 1):
                for c, text in enumerate(CLASSES):
                    scores[flat, i, c] = said(checkpoint, prompt, image(picture, bool(flat)), answer(tokenizer, prompt, text))
        scores = scores - scores.mean(-1, keepdim=True)
        out, about = {"with": scores[0], "without": scores[1]}, {"prompts": PROMPTS, "pictures": PICTURES, "classes": CLASSES, "fusions": FUSIONS, "given": GIVEN}
        constants = [fitted(cls, mode, *scores) for mode in FUSIONS]
        out["constants"] = torch.tensor([c for c, _ in constants])
        for key, of in (("given", lambda _: GIVEN), ("fitted", lambda f: constants[f][0])):
            found = [decomposed(cls, mode, *scores, of(f))[:3] for f, mode in enumerate(FUSIONS)]
            for what, table in zip(("te", "nde", "tie"), zip(*found)):
                out[f"{key}.{what}"] = torch.stack(table, 1)
        about["known to"] = [width for _, width in constants]
        ranked = out["fitted.tie"].sort(-1).values
        about["smallest gap"] = float(ranked.diff(dim=-1)[..., -1].min())
        about["checkpoint"] = f"fixtures/{name}/model"
        path = common.save(FOLDER / f"cfvqa-{name}.safetensors", {n: x.float() for n, x in out.items()}, about)
        print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB", constants, about["smallest gap"])


if __name__ == "__main__":
    main()

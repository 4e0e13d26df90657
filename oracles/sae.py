"""A sparse autoencoder learned by PyTorch's own gradients, and dictionaries that SAELens has saved.

`fixtures/methods/sparse-autoencoder.safetensors`: rows, and what is learned from them in double precision by the formula that the page of the method
states, with automatic differentiation instead of gradients by hand. What is held out, the first directions and the order of the rows are drawn here anew, from
SplitMix64 of a seed and an item.

`fixtures/methods/saelens/{standard,topk,scaled,jumprelu}`: folders as `SAE.save_model` of SAELens writes them, and in `sae-lens.safetensors` the features and
reconstructions of some rows by SAELens. Needs `sae-lens` 6.54.12 beside the requirements; `python oracles/sae.py FOLDER` opens a dictionary that mmlens saved instead, and
prints by how much SAELens differs from the formula.
"""

import json
import math
import sys

import common
import numpy as np
import torch
from common import FIXTURES
from probes import at, unit

WIDTH, FEATURES, K, BATCH, PASSES, DEAD_AFTER, SEED, SHARE, RATE, AUXILIARY = 6, 20, 2, 10, 3, 15, 11, 0.2, 0.004, 0.25


def normal(seed):
    radius, angle = 1.0 - unit(at(seed, 0)), unit(at(seed, 1))
    return math.sqrt(-2.0 * math.log(radius)) * math.cos(2 * math.pi * angle)


def direction(seed):
    drawn = np.array([normal(at(seed, i)) for i in range(WIDTH)])
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def order(length, seed):
    half = max(-(-max((length - 1).bit_length(), 0) // 2), 1)
    mask = (1 << half) - 1

    def mixed(value):
        left, right = value >> half & mask, value & mask
        for turn in range(6):
            left, right = right, left ^ (at(at(seed, turn), right) & mask)
        return left << half | right

    def place(value):
        row = mixed(value)
        while row >= length:
            row = mixed(row)
        return row

    return [place(i) for i in range(length)]


def held_out(groups, seed):
    names = sorted(set(groups))
    drawn = sorted((at(seed, i), group) for i, group in enumerate(names))
    count = min(max(round(SHARE * len(names)), 1), len(names) - 1)
    chosen = {group for _, group in drawn[:count]}
    return np.array([group in chosen for group in groups])


def kept(pre, k):
    """The k largest of each row above zero, of equal ones the first."""
    places = torch.argsort(-pre, dim=-1, stable=True)[..., :k]
    return torch.zeros_like(pre).scatter_(-1, places, 1.0) * (pre > 0)


class Adam:
    def __init__(self, parameters):
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self.steps = 0

    def step(self, parameters, gradients):
        self.steps += 1
        for p, g, (first, second) in zip(parameters, gradients, self.moments):
            first.mul_(0.9).add_(0.1 * g)
            second.mul_(0.999).add_(0.001 * g * g)
            with torch.no_grad():
                p -= RATE * (first / (1 - 0.9**self.steps)) / ((second / (1 - 0.999**self.steps)).sqrt() + 1e-8)


def learn(rows, out):
    """In units of the root of the mean squared distance from the mean, told in those of the rows."""
    own, held = torch.tensor(rows[~out]).double(), torch.tensor(rows[out]).double()
    unit_of = ((own - own.mean(0)) ** 2).sum(-1).mean().sqrt()
    own, held = own / unit_of, held / unit_of
    mean = own.mean(0)
    start = torch.tensor(np.stack([direction(at(at(SEED, 1), j)) for j in range(FEATURES)])).double()
    encoder, bias, decoder, centre = start.clone().T.contiguous(), torch.zeros(FEATURES).double(), start.clone(), mean.clone()
    parameters = [p.requires_grad_() for p in (encoder, bias, decoder, centre)]
    adam, silent, passes, revived = Adam(parameters), np.zeros(FEATURES, dtype=int), [], 0
    share_of = lambda x, put: float(((put - x) ** 2).sum() / ((x - mean) ** 2).sum())

    def features(x):
        pre = (x - centre) @ encoder + bias
        return pre, pre.relu() * kept(pre.detach(), K)

    for turn in range(PASSES):
        places = order(len(own), at(SEED, (1 << 32) + turn))
        for first in range(0, len(own), BATCH):
            x = own[places[first : first + BATCH]]
            pre, f = features(x)
            put = f @ decoder + centre
            loss = ((put - x) ** 2).sum() / len(x)
            dead = np.flatnonzero(silent >= DEAD_AFTER)
            if len(dead):
                revived += 1
                of_dead = pre[:, dead]
                g = of_dead.relu() * kept(of_dead.detach(), WIDTH // 2)
                share = min(len(dead) / (WIDTH // 2), 1.0)
                loss = loss + AUXILIARY * share * ((g @ decoder[dead] - (x - put).detach()) ** 2).sum() / len(x)
            gradients = list(torch.autograd.grad(loss, parameters))
            along = (gradients[2] * decoder.detach()).sum(-1, keepdim=True)
            gradients[2] = gradients[2] - along * decoder.detach()
            adam.step(parameters, gradients)
            with torch.no_grad():
                decoder /= decoder.norm(dim=-1, keepdim=True)
            was = (f.detach() > 0).any(0).numpy()
            silent = np.where(was, 0, silent + len(x))
        with torch.no_grad():
            passes.append(share_of(held, features(held)[1] @ decoder + centre))
    print("steps with dead features", revived, "of", adam.steps)
    with torch.no_grad():
        found = torch.cat([features(own)[1], features(held)[1]]) > 0
        active = (features(held)[1] > 0).sum(-1).double().mean()
        values, vectors = torch.linalg.eigh((own - mean).T @ (own - mean) / len(own))
        top = vectors[:, -K:]
        components = share_of(held, (held - mean) @ top @ top.T + mean)
        drawn = torch.tensor(np.stack([direction(at(at(SEED, 2), j)) for j in range(FEATURES)])).double()
        centred = held - mean
        pre = centred @ drawn.T
        random = share_of(held, (pre.relu() * kept(pre, K)) @ drawn + mean)
    result = {"W_enc": encoder, "b_enc": bias * unit_of, "W_dec": decoder, "b_dec": centre * unit_of, "passes": torch.tensor(passes), "active": active}
    result |= {"density": found.double().mean(0), "unexplained": torch.tensor([passes[-1], components, random]).double()}
    return {name: value.detach().numpy() for name, value in result.items()}


def learned():
    rng = common.rng(0, "sparse-autoencoder")
    parts = rng.standard_normal((9, WIDTH))
    parts /= np.linalg.norm(parts, axis=-1, keepdims=True)
    holds = (rng.random((60, 9)) < 0.2) * rng.uniform(0.5, 2.0, (60, 9))
    rows = (holds @ parts + 0.02 * rng.standard_normal((60, WIDTH)) + 0.5).astype(np.float32)
    groups = np.arange(60) // 3
    out = held_out([int(g) for g in groups], at(SEED, 0))
    result = learn(rows, out) | {"rows": rows, "groups": groups, "held_out": out.astype(np.uint8)}
    settings = {"features": FEATURES, "k": K, "batch": BATCH, "passes": PASSES, "dead_after": DEAD_AFTER, "rate": RATE, "auxiliary": AUXILIARY, "held_out": SHARE}
    print({name: np.round(value, 4) for name, value in result.items() if value.size < 8})
    common.save(FIXTURES / "methods" / "sparse-autoencoder.safetensors", result, settings | {"seed": SEED, "library": "torch " + torch.__version__})


def of_saelens():
    import sae_lens
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

    rng = common.rng(0, "sae-lens")
    shape = {"d_in": 4, "d_sae": 6}
    kinds = {
        "standard": (StandardSAE, StandardSAEConfig(**shape, apply_b_dec_to_input=False)),
        "topk": (TopKSAE, TopKSAEConfig(**shape, k=2)),
        "scaled": (TopKSAE, TopKSAEConfig(**shape, k=2, rescale_acts_by_decoder_norm=True)),
        "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig(**shape)),
    }
    draw = lambda *of: torch.tensor(rng.standard_normal(of).astype(np.float32))
    rows = draw(7, 4)
    result = {"rows": rows.numpy()}
    for name, (kind, config) in kinds.items():
        config.metadata.hook_name = "blocks.1.hook_resid_post"
        config.metadata.model_name = "tiny"
        sae = kind(config)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(draw(*parameter.shape))
            if name == "jumprelu":
                sae.threshold.abs_()
            features = sae.encode(rows)
            result |= {f"{name}.features": features.numpy(), f"{name}.decoded": sae.decode(features).numpy()}
        folder = FIXTURES / "methods" / "saelens" / name
        sae.save_model(folder)
        config = folder / "cfg.json"
        config.write_text(json.dumps(json.loads(config.read_text()), indent=1, sort_keys=True) + "\n")
    common.save(FIXTURES / "methods" / "sae-lens.safetensors", result, {"library": "sae-lens " + sae_lens.__version__})


def opened(folder):
    from safetensors.torch import load_file
    from sae_lens import SAE

    sae, own = SAE.load_from_disk(folder), load_file(f"{folder}/sae_weights.safetensors")
    rows = 3 * torch.randn(64, sae.cfg.d_in, generator=torch.Generator().manual_seed(0)) + own["b_dec"]
    with torch.no_grad():
        features = sae.encode(rows)
        pre = (rows - own["b_dec"]) @ own["W_enc"] + own["b_enc"]
        expected = pre.relu() * kept(pre, sae.cfg.k)
        gaps = [(features - expected).abs().max(), (sae.decode(features) - (expected @ own["W_dec"] + own["b_dec"])).abs().max()]
    print(sae.cfg.architecture(), sae.cfg.to_dict(), "features", float(gaps[0]), "decoded", float(gaps[1]))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        opened(sys.argv[1])
    else:
        learned()
        of_saelens()

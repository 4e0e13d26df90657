"""A tuned lens by autograd and `torch.optim.SGD` through transformers' own norm and head: `fixtures/methods/tuned-lens-{llava-a,gpt2-a}.safetensors`.

The first steps of the published program (github.com/AlignmentResearch/tuned-lens, `train_loop.py` and `ingredients.py`): translators added residually and zero at
the beginning, the divergence of the last layer from each, averaged over positions, the gradient of all cut to norm 1, SGD with Nesterov's momentum, a rate that
falls linearly. Which cases are held out, and in which order the others come, follows from the seed as in mmlens.
"""

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace
from tracing import at

FOLDER = FIXTURES / "methods"
STEPS, BATCH, HELD_OUT, SEED = 4, 2, 0.3, 5
ORDER = 1 << 32
PROMPTS = {
    "llava-a": [("square", "<image>Red?"), ("tall", "<image>Red?"), ("square", "<image>Big?"), ("wide", "<image>Is it red?"), ("tall", "<image>Big?"), ("wide", "<image>Red?")],
    "gpt2-a": [(None, text) for text in ("It is red.", "Is it red?", "It is big.", "Red is it.", "Big and red.", "It is a big red dot.")],
}


def held_out(count):
    """Cases by what their seeds draw, the first of them held out: `core::cases::held_out`, of cases that are groups of their own."""
    seed = np.uint64(SEED)
    drawn = sorted(range(count), key=lambda i: (int(at(seed, i)), i))
    return set(drawn[: min(max(int(HELD_OUT * count + 0.5), 1), count - 1)])


def shuffled(count, item):
    draws = at(at(np.uint64(SEED), ORDER), item // count)
    return sorted(range(count), key=lambda case: (int(at(draws, case)), case))[item % count]


def streams(checkpoint, picture, prompt):
    row = {"prompt": prompt} | ({"images": [Image.open(pictures.FOLDER / f"{picture}.png")]} if picture else {})
    batch = trace.prepare(checkpoint, [row])
    given = batch.kwargs() if picture else {"input_ids": batch.input_ids}
    with torch.no_grad():
        out = checkpoint.model(**given, output_hidden_states=True, use_cache=False)
    return [h[0] for h in out.hidden_states[:-1]], out.logits[0].log_softmax(-1)


def tuned(name, bias_only):
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    model = checkpoint.model
    for weight in model.parameters():
        weight.requires_grad_(False)
    norm = model.model.language_model.norm if name == "llava-a" else model.transformer.ln_f
    unembed = lambda h: model.lm_head(norm(h))
    cases = [streams(checkpoint, *case) for case in PROMPTS[name]]
    out = held_out(len(cases))
    kept = [case for i, case in enumerate(cases) if i not in out]
    width, depths = cases[0][0][0].shape[1], len(cases[0][0])
    lens = torch.nn.ModuleList([torch.nn.Linear(width, width) for _ in range(depths)])
    for own in lens:
        torch.nn.init.zeros_(own.weight)
        torch.nn.init.zeros_(own.bias)
        own.weight.requires_grad_(not bias_only)
    params = [p for p in lens.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(params, lr=1.0 * (1 - 0.9), momentum=0.9, nesterov=True, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (STEPS - step) / STEPS)
    divergence = lambda target, logits: (target.exp() * (target - logits.log_softmax(-1))).sum(-1)
    losses, said = [], 0
    for step in range(STEPS):
        batch = [kept[shuffled(len(kept), step * BATCH + i)] for i in range(BATCH)]
        target = torch.cat([target for _, target in batch])
        said = said + target.exp().sum(0)
        row = []
        for depth, own in enumerate(lens):
            h = torch.cat([hidden[depth] for hidden, _ in batch])
            loss = divergence(target, unembed(h + own(h))).mean()
            loss.backward()
            row.append(float(loss.detach()))
        losses.append(row)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    constant = (said / said.sum()).log()
    with torch.no_grad():
        rest = [case for i, case in enumerate(cases) if i in out]
        target = torch.cat([target for _, target in rest])
        missed = []
        for depth, own in enumerate(lens):
            h = torch.cat([hidden[depth] for hidden, _ in rest])
            each = [divergence(target, unembed(h)), divergence(target, unembed(h + own(h))), (target.exp() * (target - constant)).sum(-1)]
            missed.append([float(x.double().mean()) for x in each])
    found = {"losses": torch.tensor(losses), "divergence": torch.tensor(missed), "bias": torch.stack([own.bias.detach() for own in lens])}
    if not bias_only:
        found["weight"] = torch.stack([own.weight.detach() for own in lens])
    about = {
        "steps": STEPS,
        "batch": BATCH,
        "held_out": HELD_OUT,
        "seed": SEED,
        "bias_only": bias_only,
        "cases": [list(case) for case in PROMPTS[name]],
        "out": sorted(out),
        "divergence": "depth; logit lens, tuned lens, constant",
    }
    path = common.save(FOLDER / f"tuned-lens-{name}.safetensors", found, about)
    print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB", losses, missed)


def main():
    tuned("llava-a", bias_only=False)
    tuned("gpt2-a", bias_only=True)


if __name__ == "__main__":
    main()

"""Baselines and paths of integrated gradients for the words of a trained decoder: which of them close, and on what.

    python oracles/real_weights.py FOLDER
    python oracles/ig_paths.py run FOLDER/smollm2 results.jsonl [--paths NAME,...] [--order 5] [--prompts 20] [--device cuda] [--double]
    python oracles/ig_paths.py table results.jsonl ...

The objective is the log-probability of the model's own first token. A path is cut into 16 panels of a few Gauss-Legendre nodes, an odd number, whose middle
one lies where a panel is halved: the objective at both ends of every panel is known, and with it by how much the panel misses the change between them. The
panels that miss most are halved until those errors, without their signs, sum to less than a hundredth of the whole change, or 512 nodes are spent. Nodes of
panels that were halved count, though they are dropped, and so do the ends of the first panels. Nothing here depends on mmlens.
"""

import argparse
import json
import math
import time
from pathlib import Path

import common
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# Fixed before any of them was run.
RAW = [
    "The capital of France is", "The largest planet in the solar system is", "Water is made of hydrogen and", "The author of Romeo and Juliet is William",
    "The sun rises in the", "The opposite of hot is", "2 + 3 =", "Ten minus four is", "1, 2, 3, 4,", "The keys to the cabinet", "The author of the books",
    "My sister and her friends", "The dog that chased the cats", "Monday, Tuesday, Wednesday,", "She opened the door and walked into the", "Once upon a",
]  # fmt: skip
ASKED = ["What is the capital of France?", "What is 2 + 3?", "Name a colour of the rainbow.", "Is the sky green?"]
BUDGETS = (32, 64, 128, 256, 512)
TOLERANCE = 0.01
PANELS = 16


class Decoder:
    def __init__(self, folder, device, double):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64 if double else torch.float32, attn_implementation="eager")
        self.model = model.eval().requires_grad_(False).to(device)
        self.rows = 16 if device == "cpu" else 128
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.embedding = self.model.model.embed_tokens.weight

    def prompts(self):
        for text in RAW:
            yield text, self.tokenizer(text).input_ids
        for text in ASKED:
            said = [{"role": "user", "content": text}]
            yield text, self.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)["input_ids"]

    def told(self, points):
        """Log-probabilities of the next token, of [row, position, width]."""
        return self.model.lm_head(self.model.model(inputs_embeds=points, use_cache=False).last_hidden_state[:, -1]).log_softmax(-1)

    def scores(self, points, target):
        with torch.no_grad():
            return self.told(points)[:, target].double().cpu().numpy()

    def gradients(self, points, target):
        scores, gradients = [], []
        for some in points.split(self.rows):
            some = some.detach().requires_grad_(True)
            score = self.told(some)[:, target]
            gradients.append(torch.autograd.grad(score.sum(), some)[0])
            scores.append(score.detach())
        return torch.cat(scores).double().cpu().numpy(), torch.cat(gradients)


class Line:
    """Straight from a baseline to the input, all positions together."""

    def __init__(self, x, baseline):
        self.x, self.baseline = x, baseline.expand_as(x)
        self.breaks = tuple(k / PANELS for k in range(PANELS + 1))

    def at(self, t):
        """Points and velocities at places t, [row, position, width]."""
        way = self.x - self.baseline
        return self.baseline + t[:, None, None] * way, way.expand(len(t), *way.shape)


class OneByOne(Line):
    """One position after the other, each straight from its baseline to its word while those before are words and those behind are not.

    What a position gets is a difference of two scores: the path is one of finite differences, whatever the nodes."""

    def __init__(self, x, baseline):
        super().__init__(x, baseline)
        panels = len(x) * math.ceil(PANELS / len(x))
        self.breaks = tuple(k / panels for k in range(panels + 1))

    def at(self, t):
        own = t[:, None] * len(self.x) - torch.arange(len(self.x), device=t.device)
        moves = ((own > 0) & (own < 1)).to(self.x) * len(self.x)
        way = self.x - self.baseline
        return self.baseline + own.clamp(0, 1)[..., None] * way, moves[..., None] * way


class Arc(Line):
    """Each position on the arc between the directions of baseline and word, its length growing evenly: no point is shorter than both ends."""

    def at(self, t):
        t = t[:, None, None]
        length = lambda x: x.norm(dim=-1, keepdim=True)
        (a, b), (u, v) = (length(self.baseline), length(self.x)), (self.baseline / length(self.baseline), self.x / length(self.x))
        angle = (u * v).sum(-1, keepdim=True).clamp(-1, 1).acos()
        wide = angle > 1e-4
        sine = torch.where(wide, angle.sin(), 1.0)
        turned = torch.where(wide, (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / sine, u.expand(len(t), -1, -1))
        turning = torch.where(wide, angle * ((t * angle).cos() * v - ((1 - t) * angle).cos() * u) / sine, 0.0)
        size = a + t * (b - a)
        return size * turned, (b - a) * turned + size * turning


def paths(decoder, x):
    """By name; where all begin at one point, it is the baseline of every position."""
    word = lambda text: decoder.embedding[decoder.tokenizer.convert_tokens_to_ids(text)]
    mean, end, every = x.mean(0), word("<|endoftext|>"), decoder.embedding.mean(0)
    space = word("Ġ")
    first = lambda baseline: torch.cat([x[:1], baseline.expand_as(x)[1:]])
    return {
        "mean": lambda: Line(x, mean),
        "end": lambda: Line(x, end),
        "zero": lambda: Line(x, torch.zeros_like(mean)),
        "one by one from end": lambda: OneByOne(x, end),
        "arc from end": lambda: Arc(x, end),
        "small": lambda: Line(x, x / 16),
        "space": lambda: Line(x, space),
        "vocabulary": lambda: Line(x, every),
        "end but the first": lambda: Line(x, first(end)),
        "one by one from mean": lambda: OneByOne(x, mean),
        "arc from mean": lambda: Arc(x, mean),
    }


class Walk:
    """A path cut into panels."""

    def __init__(self, decoder, path, target, order):
        self.decoder, self.path, self.target, self.nodes = decoder, path, target, 0
        places, weights = np.polynomial.legendre.leggauss(order)
        self.places, self.weights = (1 + places) / 2, weights / 2
        breaks = path.breaks
        ends = decoder.scores(path.at(torch.tensor(breaks, dtype=path.x.dtype, device=path.x.device))[0], target)
        self.begins, self.change = float(ends[0]), float(ends[-1] - ends[0])
        self.nodes += len(breaks) - 2
        self.panels = self.measured([(a, b, fa, fb) for a, b, fa, fb in zip(breaks, breaks[1:], ends, ends[1:])])

    def measured(self, spans):
        """Panels, each with the contribution of every position, by how much that misses, and the score in its middle."""
        places = np.concatenate([a + (b - a) * self.places for a, b, _, _ in spans])
        scores, own = [], []
        for some in torch.tensor(places, dtype=self.path.x.dtype, device=self.path.x.device).split(128):
            points, velocities = self.path.at(some)
            score, gradients = self.decoder.gradients(points, self.target)
            scores.append(score)
            own.append((gradients.double() * velocities.double()).sum(-1).cpu().numpy())
        scores, own = np.concatenate(scores).reshape(len(spans), -1), np.concatenate(own).reshape(len(spans), len(self.places), -1)
        self.nodes += len(places)
        out = []
        for (a, b, fa, fb), score, rows in zip(spans, scores, own):
            shares = (b - a) * self.weights @ rows
            out.append(((a, b, fa, fb), shares, float(shares.sum() - (fb - fa)), float(score[len(score) // 2])))
        return out

    def halved(self, budget):
        """Halves the panels that miss at least a quarter as much as the worst, as far as the budget goes. False where nothing is left of it."""
        ranked = sorted(self.panels, key=lambda panel: -abs(panel[2]) if math.isfinite(panel[2]) else -math.inf)
        worst = abs(ranked[0][2])
        least = worst / 4 if math.isfinite(worst) else math.inf
        some = [panel for panel in ranked if not abs(panel[2]) < least][: (budget - self.nodes) // (2 * len(self.places))]
        if not some:
            return False
        kept = [panel for panel in self.panels if not any(panel is other for other in some)]
        spans = []
        for (a, b, fa, fb), _, _, middle in some:
            spans += [(a, (a + b) / 2, fa, middle), ((a + b) / 2, b, middle, fb)]
        self.panels = sorted(kept + self.measured(spans), key=lambda panel: panel[0][0])
        return True

    def state(self):
        """Nodes, the gap, and the gaps of all panels without their signs, both over the change."""
        gaps = np.array([gap for _, _, gap, _ in self.panels])
        return self.nodes, float(gaps.sum()) / self.change, float(np.abs(gaps).sum() / abs(self.change))


def walked(decoder, path, target, order):
    walk = Walk(decoder, path, target, order)
    states = [walk.state()]
    while not states[-1][2] <= TOLERANCE and walk.halved(BUDGETS[-1]):
        states.append(walk.state())
    return walk, states


def nothing(told, at, target):
    """The log of the mean probability of a token behind all other prompts: the answer of somebody who does not know the prompt."""
    others = torch.cat([told[:at], told[at + 1 :]])[:, target]
    return float(others.double().logsumexp(0) - math.log(len(others)))


def run(args):
    decoder = Decoder(args.folder, args.device, args.double)
    prompts = list(decoder.prompts())
    with torch.no_grad():
        told = torch.cat([decoder.told(decoder.embedding[torch.tensor([ids])]) for _, ids in prompts])
    done = set()
    if args.out.exists():
        done = {(r["path"], r["at"], r["order"]) for r in map(json.loads, args.out.read_text().splitlines())}
    names = args.paths.split(",") if args.paths else list(paths(decoder, decoder.embedding[:2]))
    for name in names:
        for at, (text, ids) in enumerate(prompts[: args.prompts]):
            if (name, at, args.order) in done:
                continue
            x, target, started = decoder.embedding[torch.tensor(ids)], int(told[at].argmax()), time.time()
            walk, states = walked(decoder, paths(decoder, x)[name](), target, args.order)
            record = {
                "path": name, "at": at, "order": args.order, "prompt": text, "answer": decoder.tokenizer.decode([target]), "objective": float(told[at, target]),
                "baseline": walk.begins, "nothing": nothing(told, at, target), "states": states,
                "shares": np.sum([panel[1] for panel in walk.panels], 0).round(6).tolist(), "seconds": round(time.time() - started),
            }  # fmt: skip
            with args.out.open("a") as out:
                out.write(json.dumps(record) + "\n")
            print(f"{name:22} {at:2} {text[:30]!r:34} {states[-1][0]:4} nodes, gap {states[-1][1]:+.4f}, panels {states[-1][2]:.4f}, {record['seconds']} s", flush=True)


def upto(states, nodes):
    """The last state within a number of nodes."""
    within = [state for state in states if state[0] <= nodes]
    return within[-1] if within else None


def table(args):
    records = [json.loads(line) for file in args.results for line in file.read_text().splitlines()]
    print("| from | prompts | " + " | ".join(f"closed within {n}" for n in BUDGETS) + " | median gap at 512 | panels at 512 | towards no information |")
    print("|---|---|" + "---|" * (len(BUDGETS) + 3))
    for name, order in dict.fromkeys((r["path"], r["order"]) for r in records):
        own = [r for r in records if (r["path"], r["order"]) == (name, order)]
        closed = [sum(any(s[0] <= n and s[2] <= TOLERANCE for s in r["states"]) for r in own) for n in BUDGETS]
        last = [upto(r["states"], BUDGETS[-1]) for r in own]
        moved = [(r["objective"] - r["baseline"]) / (r["objective"] - r["nothing"]) for r in own]
        cells = [f"{name}, {order}", len(own), *closed, f"{np.median([abs(s[1]) for s in last]):.4f}", f"{np.median([s[2] for s in last]):.4f}", f"{np.median(moved):.2f}"]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("folder")
    one.add_argument("out", type=Path)
    one.add_argument("--paths")
    one.add_argument("--order", type=int, default=5)
    one.add_argument("--prompts", type=int, default=20)
    one.add_argument("--device", default="cpu")
    one.add_argument("--double", action="store_true", help="in float64: differences of a hundredth of a per cent then are those of the path")
    two = commands.add_parser("table")
    two.add_argument("results", type=Path, nargs="+")
    args = parser.parse_args()
    {"run": run, "table": table}[args.command](args)


if __name__ == "__main__":
    main()

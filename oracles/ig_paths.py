"""Baselines and paths of integrated gradients for the words of a trained decoder: which of them close, and on what.

    python oracles/real_weights.py FOLDER
    python oracles/ig_paths.py run FOLDER/smollm2 results.jsonl [--paths NAME,...] [--fixed N] [--prompts 20] [--device cuda] [--double]
    python oracles/ig_paths.py table results.jsonl ...

The objective is the log-probability of the model's own first token. A path is cut into 32 panels of five equal places each, both ends among them, that are
weighed by Boole's rule. What a panel should give is the change between its ends. The panels that miss most of that are halved, all their places are used
again, until what all of them miss, without signs, is less than a hundredth of the whole change, or 512 places between the ends of the path were looked at.
`--fixed N` takes N Gauss-Legendre nodes in their place. Nothing here depends on mmlens.
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
BUDGET = 512
TOLERANCE = 0.01
PANELS = 32
BOOLE = np.array([7, 32, 12, 32, 7]) / 90


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

    def tensor(self, places):
        return torch.as_tensor(places, dtype=self.x.dtype, device=self.x.device)

    def at(self, t):
        """Points at places t, [row, position, width]."""
        return self.baseline + t[:, None, None] * (self.x - self.baseline)

    def velocity(self, t, inside):
        """Velocities there, of the piece of the path that `inside` lies in, where it has pieces."""
        way = self.x - self.baseline
        return way.expand(len(t), *way.shape)


class OneByOne(Line):
    """One position after the other, each straight from its baseline to its word while those before are words and those behind are not.

    What a position gets is a difference of two scores: the path is one of finite differences, whatever the nodes."""

    def __init__(self, x, baseline):
        super().__init__(x, baseline)
        panels = len(x) * math.ceil(PANELS / len(x))
        self.breaks = tuple(k / panels for k in range(panels + 1))

    def at(self, t):
        own = t[:, None] * len(self.x) - torch.arange(len(self.x), device=t.device)
        return self.baseline + own.clamp(0, 1)[..., None] * (self.x - self.baseline)

    def velocity(self, t, inside):
        moves = self.x.new_zeros(len(self.x), 1)
        moves[int(inside * len(self.x))] = len(self.x)
        return (moves * (self.x - self.baseline)).expand(len(t), *self.x.shape)


class Arc(Line):
    """Each position on the arc between the directions of baseline and word, its length growing evenly: no point is shorter than both ends."""

    def at(self, t):
        return self.turned(t)[0]

    def velocity(self, t, inside):
        return self.turned(t)[1]

    def turned(self, t):
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
    """A path cut into panels, and what is known at places on it."""

    def __init__(self, decoder, path, target):
        self.decoder, self.path, self.target, self.known = decoder, path, target, {}
        self.spans = list(zip(path.breaks, path.breaks[1:]))
        self.look(self.spans)
        self.change = self.known[1.0][0] - self.known[0.0][0]
        self.shares = {span: self.measured(span) for span in self.spans}

    @staticmethod
    def places(span):
        a, b = span
        return [a + (b - a) * i / 4 for i in range(4)] + [b]

    def look(self, spans):
        """The score and its gradient at all places of some panels that are not known yet."""
        new = list(dict.fromkeys(t for span in spans for t in self.places(span) if t not in self.known))
        for at in range(0, len(new), 64):
            some = new[at : at + 64]
            scores, gradients = self.decoder.gradients(self.path.at(self.path.tensor(some)), self.target)
            self.known |= {t: (float(score), gradient) for t, score, gradient in zip(some, scores, gradients)}

    def measured(self, span):
        """The contribution of every position over a panel, and by how much their sum misses its change."""
        a, b = span
        places = self.places(span)
        velocities = self.path.velocity(self.path.tensor(places), (a + b) / 2)
        own = [(self.known[t][1].double() * velocity.double()).sum(-1).cpu().numpy() for t, velocity in zip(places, velocities)]
        shares = (b - a) * BOOLE @ np.array(own)
        return shares, float(shares.sum() - (self.known[b][0] - self.known[a][0]))

    def nodes(self):
        return len(self.known) - 2

    def halved(self, budget):
        """Halves the panels that miss at least a quarter as much as the worst, as far as the budget goes. False where nothing is left of it."""
        miss = lambda span: abs(self.shares[span][1]) if math.isfinite(self.shares[span][1]) else math.inf
        ranked = sorted(self.spans, key=lambda span: (-miss(span), span))
        some = [span for span in ranked if miss(span) >= miss(ranked[0]) / 4][: (budget - self.nodes()) // 4]
        if not some or miss(ranked[0]) == math.inf:
            return False
        halves = [half for a, b in some for half in ((a, (a + b) / 2), ((a + b) / 2, b))]
        self.look(halves)
        self.spans = sorted(set(self.spans) - set(some)) + halves
        self.shares = {span: self.shares.get(span) or self.measured(span) for span in self.spans}
        return True

    def state(self):
        """Places, the gap, and what all panels miss without their signs, both over the change."""
        gaps = np.array([gap for _, gap in self.shares.values()])
        return self.nodes(), float(gaps.sum() / self.change), float(np.abs(gaps).sum() / abs(self.change))


def walked(decoder, path, target):
    walk = Walk(decoder, path, target)
    states = [walk.state()]
    while not states[-1][2] <= TOLERANCE and walk.halved(BUDGET):
        states.append(walk.state())
    return walk.known[0.0][0], states, np.sum([shares for shares, _ in walk.shares.values()], 0)


def fixed(decoder, path, target, count):
    """The same with nodes of one Gauss-Legendre rule on all of the path, which must be of one piece."""
    places, weights = np.polynomial.legendre.leggauss(count)
    places = path.tensor((1 + places) / 2)
    ends = decoder.scores(path.at(path.tensor([0.0, 1.0])), target)
    gradients = torch.cat([decoder.gradients(path.at(some), target)[1] for some in places.split(64)])
    own = (gradients.double() * path.velocity(places, 0.5).double()).sum(-1).cpu().numpy()
    shares = weights / 2 @ own
    gap = float((shares.sum() - (ends[1] - ends[0])) / (ends[1] - ends[0]))
    return float(ends[0]), [(count, gap, abs(gap))], shares


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
        done = {(r["path"], r["at"], r["fixed"]) for r in map(json.loads, args.out.read_text().splitlines())}
    names = args.paths.split(",") if args.paths else list(paths(decoder, decoder.embedding[:2]))
    for name in names:
        for at, (text, ids) in enumerate(prompts[: args.prompts]):
            if (name, at, args.fixed) in done:
                continue
            x, target, started = decoder.embedding[torch.tensor(ids)], int(told[at].argmax()), time.time()
            path = paths(decoder, x)[name]()
            begins, states, shares = fixed(decoder, path, target, args.fixed) if args.fixed else walked(decoder, path, target)
            record = {
                "path": name, "at": at, "fixed": args.fixed, "prompt": text, "answer": decoder.tokenizer.decode([target]), "objective": float(told[at, target]),
                "baseline": begins, "nothing": nothing(told, at, target), "states": states,
                "shares": shares.round(6).tolist(), "seconds": round(time.time() - started),
            }  # fmt: skip
            with args.out.open("a") as out:
                out.write(json.dumps(record) + "\n")
            print(f"{name:22} {at:2} {text[:30]!r:34} {states[-1][0]:4} nodes, gap {states[-1][1]:+.4f}, panels {states[-1][2]:.4f}, {record['seconds']} s", flush=True)


def table(args):
    records = [json.loads(line) for file in args.results for line in file.read_text().splitlines()]
    print("| from | prompts | closed | every panel with it | median places | median gap | median of panels | at the baseline, over no information |")
    print("|---|---|---|---|---|---|---|---|")
    for name, fixed in dict.fromkeys((r["path"], r.get("fixed")) for r in records):
        own = [r for r in records if (r["path"], r.get("fixed")) == (name, fixed)]
        last = [r["states"][-1] for r in own]
        closed = [sum(abs(state[at]) <= TOLERANCE for state in last) for at in (1, 2)]
        median = lambda values: float(np.median(list(values)))
        above = median(r["baseline"] - r["nothing"] for r in own)
        medians = [f"{100 * median(abs(state[at]) for state in last):.2f} %" for at in (1, 2)]
        cells = [name + (f", {fixed} nodes" if fixed else ""), len(own), *closed, f"{median(state[0] for state in last):.0f}", *medians, f"{above:+.2f}"]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("folder")
    one.add_argument("out", type=Path)
    one.add_argument("--paths")
    one.add_argument("--fixed", type=int)
    one.add_argument("--prompts", type=int, default=20)
    one.add_argument("--device", default="cpu")
    one.add_argument("--double", action="store_true", help="in float64: differences of a hundredth of a per cent then are those of the path")
    two = commands.add_parser("table")
    two.add_argument("results", type=Path, nargs="+")
    args = parser.parse_args()
    {"run": run, "table": table}[args.command](args)


if __name__ == "__main__":
    main()

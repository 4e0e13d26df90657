"""What decoders by several branches say, in transformers: `fixtures/methods/decoding-*.safetensors`.

VCD and PAI on `llava-a`, whose picture is one run of positions, and on `smolvlm-a`, which cuts it into tiles with words between them; DoLa on `llava-a`, and on `gpt2-a`, which sees no pictures, has a layer norm with a
bias, and an unembedding that is its embedding. Greedy, some steps behind one prompt, without stopping at an end token. Of each step the scores of all tokens before any of them is ruled out (`scores`), which can come (`plausible`), the token
(`tokens`), and its log-probability by the model's own branch and by the other (`logs`). Of `vcd` the noised pixels too, and the share of the signal that the authors' formula keeps at
some steps; of `dola` the layer that is taken. Rules and schedules are those of the authors' code (DAMO-NLP-SG/VCD, LALBJ/PAI, voidism/DoLa), written anew.
"""

import math

import common
import torch
from PIL import Image
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import repeat_kv

import pictures
import trace
from methods import FOLDER

PROMPTS = {"llava-a": ("<image>Red?", "square"), "smolvlm-a": ("<image>Red?", "square"), "gpt2-a": ("Is it red", None)}
STEPS, BETA = 5, 0.1
VCD = {"alpha": 1.0, "noise": 500}
PAI = {"alpha": 0.5, "gamma": 1.5, "from": 1}
LAYERS = [0, 1, 2]
KEPT = [0, 250, 500, 999]


def kept_of_signal():
    betas = torch.sigmoid(torch.linspace(-6, 6, 1000)) * (0.5e-2 - 1e-5) + 1e-5
    return torch.cumprod(1 - betas, 0).sqrt()


def plausible(logits):
    return logits >= math.log(BETA) + logits.max()


class Raised:
    """Attention whose scores are raised: of the queries from `first` on, at keys of the picture, in layers from `layer` on."""

    def __init__(self, keys, alpha, layer):
        self.keys, self.alpha, self.layer, self.first = keys, alpha, layer, None

    def __call__(self, module, query, key, value, mask, scaling=None, dropout=0.0, **_):
        key, value = (repeat_kv(x, module.num_key_value_groups) for x in (key, value))
        scores = query @ key.transpose(2, 3) * scaling
        if mask is not None:
            scores = scores + mask[:, :, :, : key.shape[-2]]
        if self.first is not None and module.layer_idx >= self.layer:
            own = scores[:, :, self.first :, self.keys]
            scores[:, :, self.first :, self.keys] = own + self.alpha * own.abs()
        return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


def greedy(step):
    """`step(tokens)`: scores, the model's own logits, the other's, and whatever else is kept."""
    tokens, out = [], {"scores": [], "plausible": [], "logs": []}
    for _ in range(STEPS):
        with torch.no_grad():
            scores, own, other, more = step(tokens)
        can = plausible(own)
        token = int(scores.masked_fill(~can, -math.inf).argmax())
        best = scores.masked_fill(~can, -math.inf).topk(2).values
        assert can.sum() == 1 or best[0] - best[1] > 1e-4, best
        tokens.append(token)
        out["scores"].append(scores)
        out["plausible"].append(can.to(torch.uint8))
        out["logs"].append(torch.stack([x.log_softmax(-1)[token] for x in (own, other)]))
        for name, x in more.items():
            out.setdefault(name, []).append(torch.tensor(x))
    return {name: torch.stack(x) for name, x in out.items()} | {"tokens": torch.tensor(tokens)}


class Shown:
    """A checkpoint and a prompt."""

    def __init__(self, name):
        self.name, (self.prompt, self.picture) = name, PROMPTS[name]
        checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
        shown = {} if self.picture is None else {"images": [Image.open(pictures.FOLDER / f"{self.picture}.png")]}
        batch = trace.prepare(checkpoint, [{"prompt": self.prompt} | shown])
        self.model, self.ids, self.pixels, self.more = checkpoint.model, batch.input_ids, batch.pixel_values, batch.more
        self.text = self.model.transformer if name.startswith("gpt2") else getattr(self.model.model, "language_model", None) or self.model.model.text_model
        self.holes = None if self.picture is None else self.ids[0] == self.model.config.image_token_id

    def logits(self, tokens, pixels=None, ids=None, blind=False, **how):
        """What a whole pass over the prompt and tokens says."""
        given = {} if blind or self.pixels is None else {"pixel_values": self.pixels if pixels is None else pixels} | self.more
        ids = self.ids if ids is None else ids
        ids = torch.cat([ids, torch.tensor([tokens], dtype=ids.dtype)], 1)
        return self.model(input_ids=ids, use_cache=False, **given, **how)

    def save(self, rule, found, more):
        about = {"prompt": self.prompt, "picture": self.picture, "checkpoint": f"fixtures/{self.name}/model", "beta": BETA} | more
        path = common.save(FOLDER / f"decoding-{rule}-{self.name}.safetensors", found, about)
        print(f"{path.name}: {path.stat().st_size / 1024:.1f} KiB, tokens {found['tokens'].tolist()}, plausible {found['plausible'].sum(1).tolist()}, {found.get('layer')}")


def vcd(shown):
    kept = kept_of_signal()
    noise = common.normal(15, "noise", shown.pixels.shape)
    noised = kept[VCD["noise"]] * shown.pixels + (1 - kept[VCD["noise"]] ** 2).sqrt() * noise

    def step(tokens):
        own, other = shown.logits(tokens).logits[0, -1], shown.logits(tokens, noised).logits[0, -1]
        return (1 + VCD["alpha"]) * own - VCD["alpha"] * other, own, other, {}

    shown.save("vcd", greedy(step) | {"noised": noised, "kept": kept[KEPT]}, VCD | {"kept at": KEPT})


def pai(shown):
    raised = Raised(shown.holes.nonzero()[:, 0], PAI["alpha"], PAI["from"])
    ALL_ATTENTION_FUNCTIONS.register("raised", raised)
    ALL_MASK_ATTENTION_FUNCTIONS.register("raised", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    config = shown.text.config
    usual = config._attn_implementation
    words = shown.ids[:, ~shown.holes]

    def step(tokens):
        config._attn_implementation = "raised"
        raised.first = shown.ids.shape[1] - 1
        own = shown.logits(tokens).logits[0, -1]
        # With a cache, as the authors have it, each query is the last in its turn.
        raised.first = -1
        run = shown.model(input_ids=shown.ids, pixel_values=shown.pixels, use_cache=True, **shown.more)
        for token in tokens:
            run = shown.model(input_ids=torch.tensor([[token]]), past_key_values=run.past_key_values, use_cache=True)
        assert (own - run.logits[0, -1]).abs().max() < 1e-4, (own - run.logits[0, -1]).abs().max()
        raised.first = None
        unraised = shown.logits(tokens).logits[0, -1]
        config._attn_implementation = usual
        assert (unraised - shown.logits(tokens).logits[0, -1]).abs().max() < 1e-5
        assert (unraised - own).abs().max() > 1e-2
        other = shown.logits(tokens, ids=words, blind=True).logits[0, -1]
        a, b = own.log_softmax(-1), other.log_softmax(-1)
        return PAI["gamma"] * (a - b) + b, own, other, {}

    shown.save("pai", greedy(step), PAI)


def dola(shown, textbook):
    norm = torch.nn.Identity() if not textbook else getattr(shown.text, "norm", None) or shown.text.ln_f

    def step(tokens):
        run = shown.logits(tokens, output_hidden_states=True)
        own = run.logits[0, -1]
        early = [run.hidden_states[layer][0, -1] for layer in LAYERS]
        early = [shown.model.lm_head(norm(x)) for x in early]
        p, logs = own.softmax(-1), own.log_softmax(-1)
        far = []
        for other in early:
            q, other = other.softmax(-1), other.log_softmax(-1)
            m = 0.5 * (p + q)
            sides = (p * (logs - m.log()), q * (other - m.log())) if textbook else (m * (m.log() - logs), m * (m.log() - other))
            far.append(0.5 * sum(x.sum() for x in sides))
        at = int(torch.stack(far).argmax())
        best = torch.stack(far).topk(2).values
        assert best[0] - best[1] > 1e-4, far
        return logs - early[at].log_softmax(-1), own, early[at], {"layer": LAYERS[at]}

    name = "textbook" if textbook else "reference"
    shown.save(f"dola-{name}", greedy(step), {"layers": LAYERS})


def main():
    for name in PROMPTS:
        shown = Shown(name)
        print(name, "plain", greedy(lambda tokens: ((own := shown.logits(tokens).logits[0, -1]), own, own, {}))["tokens"].tolist())
        if shown.picture is not None:
            vcd(shown)
            pai(shown)
        if name != "smolvlm-a":
            dola(shown, True)
            dola(shown, False)


if __name__ == "__main__":
    main()

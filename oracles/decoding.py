"""What decoders by several branches say on `llava-a`, in transformers: `fixtures/methods/decoding-*.safetensors`.

Greedy, some steps behind one prompt, without stopping at an end token. Of each step the scores of all tokens before any of them is ruled out (`scores`), which can come (`plausible`), the token
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

PROMPT, PICTURE, STEPS, BETA = "<image>Red?", "square", 5, 0.1
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


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    model = checkpoint.model
    batch = trace.prepare(checkpoint, [{"prompt": PROMPT, "images": [Image.open(pictures.FOLDER / f"{PICTURE}.png")]}])
    ids, pixels = batch.input_ids, batch.pixel_values
    holes = ids[0] == model.config.image_token_id
    behind = lambda ids, tokens: torch.cat([ids, torch.tensor([tokens], dtype=ids.dtype)], 1)

    def logits(tokens, pixels=pixels, ids=ids, **more):
        seen = {} if pixels is None else {"pixel_values": pixels}
        return model(input_ids=behind(ids, tokens), use_cache=False, **seen, **more)

    about = {"prompt": PROMPT, "picture": PICTURE, "checkpoint": "fixtures/llava-a/model", "beta": BETA}

    def save(name, found, more):
        path = common.save(FOLDER / f"decoding-{name}.safetensors", found, about | more)
        print(f"{name}: {path.stat().st_size / 1024:.1f} KiB, tokens {found['tokens'].tolist()}, plausible {found['plausible'].sum(1).tolist()}, {found.get('layer')}")

    plain = greedy(lambda tokens: ((own := logits(tokens).logits[0, -1]), own, own, {}))
    print("plain", plain["tokens"].tolist())

    kept = kept_of_signal()
    noise = common.normal(15, "noise", pixels.shape)
    noised = kept[VCD["noise"]] * pixels + (1 - kept[VCD["noise"]] ** 2).sqrt() * noise

    def vcd(tokens):
        own, other = logits(tokens).logits[0, -1], logits(tokens, noised).logits[0, -1]
        return (1 + VCD["alpha"]) * own - VCD["alpha"] * other, own, other, {}

    save("vcd", greedy(vcd) | {"noised": noised, "kept": kept[KEPT]}, VCD | {"kept at": KEPT})

    raised = Raised(holes.nonzero()[:, 0], PAI["alpha"], PAI["from"])
    ALL_ATTENTION_FUNCTIONS.register("raised", raised)
    ALL_MASK_ATTENTION_FUNCTIONS.register("raised", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    usual = model.model.language_model.config._attn_implementation
    words = ids[:, ~holes]

    def pai(tokens):
        model.model.language_model.config._attn_implementation = "raised"
        raised.first = ids.shape[1] - 1
        own = logits(tokens).logits[0, -1]
        # With a cache, as the authors have it, each query is the last in its turn.
        raised.first = -1
        run = model(input_ids=ids, pixel_values=pixels, use_cache=True)
        for token in tokens:
            run = model(input_ids=torch.tensor([[token]]), past_key_values=run.past_key_values, use_cache=True)
        assert (own - run.logits[0, -1]).abs().max() < 1e-4, (own - run.logits[0, -1]).abs().max()
        raised.first = None
        unraised = logits(tokens).logits[0, -1]
        model.model.language_model.config._attn_implementation = usual
        assert (unraised - logits(tokens).logits[0, -1]).abs().max() < 1e-5
        assert (unraised - own).abs().max() > 1e-2
        other = logits(tokens, None, words).logits[0, -1]
        a, b = own.log_softmax(-1), other.log_softmax(-1)
        return PAI["gamma"] * (a - b) + b, own, other, {}

    save("pai", greedy(pai), PAI)

    def dola(textbook):
        def step(tokens):
            run = logits(tokens, output_hidden_states=True)
            own = run.logits[0, -1]
            early = [run.hidden_states[layer][0, -1] for layer in LAYERS]
            norm = model.model.language_model.norm if textbook else torch.nn.Identity()
            early = [model.lm_head(norm(x)) for x in early]
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

        return step

    for name in ("textbook", "reference"):
        save(f"dola-{name}", greedy(dola(name == "textbook")), {"layers": LAYERS})


if __name__ == "__main__":
    main()

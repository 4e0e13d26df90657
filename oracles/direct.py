"""Direct logit attribution, and gradients of weights, directly in torch: `fixtures/methods/{direct-*,weight-gradients-*}.safetensors`.

Of towers, by transformers' modules: the class logit of `vit-a`, and the similarity of a picture and a caption of `clip-a`, with the length of the picture's vector held.

A term of the stream is read as the logit reads the stream, with the scale of the last norm (and of a norm behind attention or the
MLP) held at what it is in this pass. Sums are in double precision; what is read of the pass is in single precision, as the model computes.
"""

import common
import pictures
import torch
from common import FIXTURES
from PIL import Image

import trace
from methods import FOLDER, Question

PROMPT = "It is red."
CAPTION = "a red square"


class Decoder:
    """The decoder of a checkpoint under one set of names: blocks, last norm, unembedding."""

    def __init__(self, model):
        self.gpt2 = model.config.model_type == "gpt2"
        self.head = model.lm_head
        inner = model.transformer if self.gpt2 else getattr(model.model, "language_model", model.model)
        self.blocks, self.norm = (inner.h, inner.ln_f) if self.gpt2 else (inner.layers, inner.norm)
        self.positions = inner.wpe.weight.double() if self.gpt2 else None
        self.config = getattr(model.config, "text_config", model.config)
        self.gemma = self.config.model_type.startswith("gemma")

    def product(self, module):
        """Weight as `[out, in]`, and bias."""
        weight = module.weight.double()
        return (weight.T if self.gpt2 else weight), None if module.bias is None else module.bias.double()

    def attention(self, i):
        return self.blocks[i].attn.c_proj if self.gpt2 else self.blocks[i].self_attn.o_proj

    def mlp(self, i):
        return self.blocks[i].mlp.c_proj if self.gpt2 else self.blocks[i].mlp.down_proj

    def behind(self, i, mlp):
        """The norm behind attention or the MLP of a block."""
        if not self.gemma:
            return None
        return self.blocks[i].post_feedforward_layernorm if mlp else self.blocks[i].post_attention_layernorm

    def held(self, norm, x):
        """A norm of `x` as a linear map of terms of `x`, and what is added."""
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        bias = getattr(norm, "bias", None)
        gain = norm.weight.double() + (1 if self.gemma else 0)
        if bias is None:
            scale = (x.square().mean() + eps).sqrt()
            return (lambda term: term / scale * gain), None
        scale = ((x - x.mean()).square().mean() + eps).sqrt()
        return (lambda term: (term - term.mean(-1, keepdim=True)) / scale * gain), bias.double()


def shares(model, sites, logits, target, about, name):
    """Every term's share of the target's logit before its cap, at the last position."""
    d = Decoder(model)
    layers = len(d.blocks)
    at = lambda site: sites[site][0, -1].double()
    final = at(f"text.blocks.{layers - 1}.resid_post")
    norm, bias = d.held(d.norm, final)
    row = d.product(d.head)[0][target] if not d.gpt2 else d.head.weight.double()[target]
    read = lambda term: norm(term) @ row
    entered, learned = at("text.input"), None
    if d.positions is not None:
        learned = d.positions[sites["text.input"].shape[1] - 1]
        entered = entered - learned
    out = {"target": torch.tensor([target]), "logit": read(final), "embedding": read(entered)}
    constant = torch.zeros((), dtype=torch.float64)
    if learned is not None:
        out["positions"] = read(learned)
    if bias is not None:
        constant = out["norm_bias"] = bias @ row
    attention, mlps, heads, neurons = [], [], [], []
    for i in range(layers):
        attention.append(read(at(f"text.blocks.{i}.attn_out")))
        mlps.append(read(at(f"text.blocks.{i}.mlp_out")))
        for mlp, module, value, kept in (
            (False, d.attention(i), at(f"text.blocks.{i}.attn.z"), heads),
            (True, d.mlp(i), at(f"text.blocks.{i}.mlp.post"), neurons),
        ):
            weight, own = d.product(module)
            flat = value.flatten()
            whole = weight @ flat + (0 if own is None else own)
            behind = d.behind(i, mlp)
            through = (lambda term: term) if behind is None else d.held(behind, whole)[0]
            # One term for every head, or for every neuron.
            parts = (weight * flat).T.reshape(value.shape[0], -1, weight.shape[0]).sum(1) if not mlp else (weight * flat).T
            kept.append(torch.stack([read(through(part)) for part in parts]))
    out |= {"attention": torch.stack(attention), "mlp": torch.stack(mlps), "heads": torch.stack(heads), "neurons": torch.stack(neurons)}
    out["logit"] = out["logit"] + constant
    total = out["embedding"] + out.get("positions", 0) + constant + out["attention"].sum() + out["mlp"].sum()
    cap = getattr(d.config, "final_logit_softcapping", None)
    said = out["logit"] if cap is None else cap * torch.tanh(out["logit"] / cap)
    out["said"] = logits[target].double()
    print(f"direct, {name}: target {target}, logit {out['logit']:.5f}, sum {total:.5f}, said {said:.5f} and {out['said']:.5f}")
    assert (total - out["logit"]).abs() < 1e-5 and (said - out["said"]).abs() < 1e-5
    out = {key: value.detach() for key, value in out.items()}
    common.save(FOLDER / f"direct-{name}.safetensors", out, about | {"axes": "layer head, layer neuron", "cap": cap})


def of_tower(name, picture):
    """Every term's share at the class token: of the likeliest class, or of the similarity with a caption."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    model, row = checkpoint.model, {"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}
    clip = name.startswith("clip")
    batch = trace.prepare(checkpoint, [row | {"texts": [CAPTION]} if clip else row])
    with torch.no_grad():
        sites, _, _ = trace.run(checkpoint, batch)
        own = model(**batch.kwargs())
    tower = model.vision_model if clip else model.vit
    blocks, norm = (tower.encoder.layers, tower.post_layernorm) if clip else (tower.layers, tower.layernorm)
    at = lambda point: sites[f"vision.{point}"][0, 0].double()
    x = at(f"blocks.{len(blocks) - 1}.resid_post")
    scale = ((x - x.mean()).square().mean() + norm.eps).sqrt()
    if clip:
        vector = model.visual_projection.weight.double() @ norm(x.float()).double()
        row = own.text_embeds[0].double() @ model.visual_projection.weight.double() * model.logit_scale.double().exp() / vector.norm()
        said, target, bias = own.logits_per_image[0, 0].double(), 0, torch.zeros((), dtype=torch.float64)
    else:
        target = int(own.logits[0].argmax())
        row, bias = model.classifier.weight[target].double(), model.classifier.bias[target].double()
        said = own.logits[0, target].double()
    read = lambda term: ((term - term.mean(-1, keepdim=True)) / scale * norm.weight.double()) @ row
    heads = []
    for i, block in enumerate(blocks):
        weight = (block.self_attn.out_proj if clip else block.attention.o_proj).weight.double()
        z = at(f"blocks.{i}.attn.z")
        heads.append(torch.stack([read(part) for part in (weight * z.flatten()).T.reshape(z.shape[0], -1, len(weight)).sum(1)]))
    out = {
        "target": torch.tensor([target]), "embedding": read(at("input")), "norm_bias": norm.bias.double() @ row, "bias": bias, "said": said,
        "attention": torch.stack([read(at(f"blocks.{i}.attn_out")) for i in range(len(blocks))]),
        "mlp": torch.stack([read(at(f"blocks.{i}.mlp_out")) for i in range(len(blocks))]), "heads": torch.stack(heads),
    }  # fmt: skip
    total = sum(out[term].sum() for term in ("embedding", "norm_bias", "bias", "attention", "mlp"))
    print(f"direct, {name}: target {target}, sum {total:.6f}, said {said:.6f}")
    assert (total - said).abs() < 1e-5
    about = {"checkpoint": f"fixtures/{name}/model", "picture": picture, "caption": CAPTION if clip else None, "axes": "layer head"}
    common.save(FOLDER / f"direct-{name}.safetensors", {key: value.detach() for key, value in out.items()}, about)


def gradients(model, run, target, names, about, name):
    """The first three rows of a few weights' gradients of the target's logit."""
    model.zero_grad()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    run()[target].backward()
    d, out = Decoder(model), {"target": torch.tensor([target])}
    for own, module in names(d).items():
        grad = module.weight.grad
        out[own] = (grad.T if d.gpt2 else grad)[:3]
        if module.bias is not None:
            out[f"{own}.bias"] = module.bias.grad
    common.save(FOLDER / f"weight-gradients-{name}.safetensors", out, about | {"what": "the first three rows, [out, in]"})


def llama_names(d):
    attn, mlp = d.blocks[1].self_attn, d.blocks[1].mlp
    return {
        "text.blocks.1.attn.q": attn.q_proj,
        "text.blocks.1.attn.k": attn.k_proj,
        "text.blocks.1.attn.v": attn.v_proj,
        "text.blocks.1.attn.o": attn.o_proj,
        "text.blocks.1.mlp.gate": mlp.gate_proj,
        "text.blocks.1.mlp.up": mlp.up_proj,
        "text.blocks.1.mlp.down": mlp.down_proj,
    }


def gpt2_names(d):
    block = d.blocks[1]
    return {"text.blocks.1.attn.o": block.attn.c_proj, "text.blocks.1.mlp.up": block.mlp.c_fc, "text.blocks.1.mlp.down": block.mlp.c_proj}


def main():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    q = Question(checkpoint, "<image>Red?", "square")
    sites, _, _ = trace.run(checkpoint, q.batch)
    shares(checkpoint.model, sites, q.logits, q.target, q.about, "llava-a")
    gradients(checkpoint.model, lambda: q.of_pixels(q.pixels)[0], q.target, llama_names, q.about, "llava-a")
    for name, names in (("gemma2-a", llama_names), ("gpt2-a", gpt2_names)):
        checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
        batch = trace.prepare(checkpoint, [{"prompt": PROMPT}])
        sites, _, _ = trace.run(checkpoint, batch)
        said = lambda: checkpoint.model(input_ids=batch.input_ids, use_cache=False).logits[0, -1]
        with torch.no_grad():
            logits = said()
        target, about = int(logits.argmax()), {"prompt": PROMPT, "checkpoint": f"fixtures/{name}/model"}
        shares(checkpoint.model, sites, logits, target, about, name)
        gradients(checkpoint.model, said, target, names, about, name)
    of_tower("clip-a", "square")
    of_tower("vit-a", "square")


if __name__ == "__main__":
    main()

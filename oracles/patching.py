"""Circuits of `llava-a` by direct computation in torch: `fixtures/methods/{knockout,attribution,edges,path}.safetensors`, and of its image
tower `fixtures/methods/patching-tower.safetensors`.

`Decoder` is a LLaMA decoder written out, in which every head's query, key and value and every MLP reads a copy of the stream of its own, so
that a copy can be changed, or differentiated, apart from the others; `Tower` is a CLIP tower written out in the same way, with the rest of the model behind it. Both are held to transformers' logits before anything is written. What is
clean and corrupted is as in `methods.py`: `<image>Red?` about the square, and about the tall picture.
"""

import common
import torch
from common import FIXTURES
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import trace
from methods import FOLDER, Question

STEPS = 5


class Written:
    """`run(x, hook)`: stream entering block 0, [row pos d], to logits at the last position. `hook(name, value)` may replace any value."""

    def read(self, x, grad=None):
        """Every value, and for a target its gradient at every value."""
        kept = {}

        def keep(name, value):
            if grad is not None and not value.requires_grad:
                value = value.detach().requires_grad_()
            if grad is not None:
                value = value.clone()
                value.retain_grad()
            kept[name] = value
            return value

        with torch.set_grad_enabled(grad is not None):
            logits = self.run(x, keep)
        if grad is None:
            return kept, None, logits
        logits[:, grad].sum().backward()
        return {n: v.detach() for n, v in kept.items()}, {n: v.grad for n, v in kept.items() if v.grad is not None}, logits.detach()


class Decoder(Written):
    end = "logits"

    def __init__(self, q):
        self.model, self.text = q.model.model.language_model, q.model.config.text_config
        self.head, self.layers = q.model.lm_head, len(self.model.layers)
        self.heads, self.kv, self.width = self.text.num_attention_heads, self.text.num_key_value_heads, self.text.head_dim

    def enter(self, q):
        with torch.no_grad():
            states = q.model.model.get_image_features(q.pixels).pooler_output
            holes = (q.ids == q.model.config.image_token_id).unsqueeze(-1)
            return q.embeds.detach().masked_scatter(holes, torch.cat(list(states)).to(q.embeds))

    def run(self, x, hook=lambda name, value: value):
        rows, length, _ = x.shape
        turn = self.model.rotary_emb(x, torch.arange(length)[None])
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = hook("input", x)
        for i, block in enumerate(self.model.layers):
            attn, mlp = block.self_attn, block.mlp
            at = lambda name, value: hook(f"{i}.{name}", value)

            def heads(name, linear, count):
                own = at(f"{name}_in", x[:, :, None].expand(-1, -1, count, -1))
                weight = linear.weight.view(count, self.width, -1)
                bias = 0 if linear.bias is None else linear.bias.view(count, self.width)
                return at(name, torch.einsum("bphd,hwd->bphw", block.input_layernorm(own), weight) + bias)

            x = at("resid_pre", x)
            read, key, value = heads("q", attn.q_proj, self.heads), heads("k", attn.k_proj, self.kv), heads("v", attn.v_proj, self.kv)
            read, key = apply_rotary_pos_emb(read.transpose(1, 2), key.transpose(1, 2), *turn)
            group = self.heads // self.kv
            key, value = key.repeat_interleave(group, 1), value.transpose(1, 2).repeat_interleave(group, 1)
            scores = (read @ key.transpose(2, 3)) * self.width**-0.5
            scores = at("scores", scores.masked_fill(hidden, torch.finfo(torch.float32).min))
            z = at("z", (scores.softmax(-1) @ value).transpose(1, 2))
            weight = attn.o_proj.weight.view(-1, self.heads, self.width)
            result = at("result", torch.einsum("bphw,mhw->bphm", z, weight))
            x = x + at("attn_out", result.sum(2) + (0 if attn.o_proj.bias is None else attn.o_proj.bias))
            x = at("resid_mid", x)
            own = block.post_attention_layernorm(at("mlp_in", x))
            post = at("mlp.post", mlp.act_fn(mlp.gate_proj(own)) * mlp.up_proj(own))
            x = x + at("mlp_out", mlp.down_proj(post))
        return self.head(self.model.norm(hook("end", x)[:, -1]))


class Tower(Written):
    """The blocks of the image tower that are read, and behind them the connector and the language model with the words of a question."""

    end = "out"

    def __init__(self, q):
        self.q, self.tower = q, q.model.model.vision_tower
        config = self.tower.config
        self.layers = config.num_hidden_layers + 1 + q.model.config.vision_feature_layer
        self.heads = self.kv = config.num_attention_heads
        self.width = config.hidden_size // self.heads

    def enter(self, q):
        with torch.no_grad():
            return self.tower.pre_layrnorm(self.tower.embeddings(q.pixels))

    def run(self, x, hook=lambda name, value: value):
        x = hook("input", x)
        for i, block in enumerate(self.tower.encoder.layers[: self.layers]):
            attn, mlp = block.self_attn, block.mlp
            at = lambda name, value: hook(f"{i}.{name}", value)

            def heads(name, linear):
                own = at(f"{name}_in", x[:, :, None].expand(-1, -1, self.heads, -1))
                weight, bias = linear.weight.view(self.heads, self.width, -1), linear.bias.view(self.heads, self.width)
                return at(name, torch.einsum("bphd,hwd->bphw", block.layer_norm1(own), weight) + bias)

            x = at("resid_pre", x)
            read, key, value = heads("q", attn.q_proj), heads("k", attn.k_proj), heads("v", attn.v_proj)
            scores = at("scores", torch.einsum("bqhw,bkhw->bhqk", read, key) * self.width**-0.5)
            z = at("z", torch.einsum("bhqk,bkhw->bqhw", scores.softmax(-1), value))
            result = at("result", torch.einsum("bphw,mhw->bphm", z, attn.out_proj.weight.view(-1, self.heads, self.width)))
            x = x + at("attn_out", result.sum(2) + attn.out_proj.bias)
            x = at("resid_mid", x)
            own = block.layer_norm2(at("mlp_in", x))
            post = at("mlp.post", mlp.activation_fn(mlp.fc1(own)))
            x = x + at("mlp_out", mlp.fc2(post))
        model, q = self.q.model.model, self.q
        features = model.multi_modal_projector(hook("end", x)[:, 1:])
        holes = (q.ids == self.q.model.config.image_token_id).expand(len(x), -1).unsqueeze(-1)
        words = q.embeds.detach().expand(len(x), -1, -1).masked_scatter(holes, features.reshape(-1, features.shape[-1]))
        states = model.language_model(inputs_embeds=words, use_cache=False).last_hidden_state
        return q.model.lm_head(states[:, -1])


def knockout(q, decoder):
    """Edges between sets of positions cut in a window of layers around each."""
    length, last = q.ids.shape[1], q.ids.shape[1] - 1
    pictures = [i for i in range(length) if q.ids[0, i] == q.model.config.image_token_id]
    question = [i for i in range(pictures[0], last) if i not in pictures]
    kinds = {"pictures to question": (pictures, question), "pictures to last": (pictures, [last]), "question to last": (question, [last])}
    x, out = decoder.enter(q), {}
    whole = q.logits[q.target]
    share = q.logits.softmax(-1)[q.target]
    for window in (1, 3):
        change, relative = torch.zeros(3, decoder.layers), torch.zeros(3, decoder.layers)
        for kind, (keys, queries) in enumerate(kinds.values()):
            for layer in range(decoder.layers):
                within = [i for i in range(decoder.layers) if abs(i - layer) <= window // 2]

                def cut(name, value):
                    if name not in [f"{i}.scores" for i in within]:
                        return value
                    value = value.clone()
                    for query in queries:
                        for key in keys:
                            if key != query:
                                value[:, :, query, key] = torch.finfo(torch.float32).min
                    return value

                with torch.no_grad():
                    logits = decoder.run(x, cut)[0]
                change[kind, layer] = logits[q.target] - whole
                relative[kind, layer] = logits.softmax(-1)[q.target] / share - 1
        out |= {f"change.{window}": change, f"probability_change.{window}": relative}
    out |= {"objective": whole, "probability": share}
    about = q.about | {"kinds": list(kinds), "axes": "kind layer", "window": "layers around each, cut off at the ends"}
    common.save(FOLDER / "knockout.safetensors", out, about)
    print(f"knock-out: change from {change.min():.4f} to {change.max():.4f}, of {whole:.4f}")


def gradients(decoder, clean, wrong, target):
    """The gradient at every value: where the corrupted input stands, where the clean one stands, and the mean of `STEPS` places from the
    corrupted one towards the clean one, which is not reached (as in EAP-IG)."""
    ways = {"corrupted": [0.0], "clean": [1.0], "path": [k / STEPS for k in range(STEPS)]}
    out = {}
    for way, places in ways.items():
        each = [decoder.read(wrong + place * (clean - wrong), target)[1] for place in places]
        out[way] = {name: sum(g[name] for g in each) / len(each) for name in each[0]}
    return out


def attribution(decoder, left, right, grads):
    """(clean - corrupted) times the gradient at every node, summed over what is not named."""
    out = {}
    for way, grad in grads.items():
        for point in ("resid_pre", "attn_out", "mlp_out", "z", "mlp.post"):
            each = [(left[f"{i}.{point}"] - right[f"{i}.{point}"]) * grad[f"{i}.{point}"] for i in range(decoder.layers)]
            each = torch.stack([x[0] for x in each])
            out[f"{way}.{point}"] = each.flatten(2).sum(-1)
            if point == "z":
                out[f"{way}.z.heads"] = each.sum(-1).transpose(1, 2)
            if point == "mlp.post":
                out[f"{way}.mlp.post.neurons"] = each.sum(1)
    print("attribution: largest at heads", max(out["corrupted.z.heads"].abs().max(), 0))
    return out


def nodes(decoder):
    """Senders and receivers by name, each with its depth: attention of block i reads at 2i and writes at 2i + 1, its MLP at 2i + 1 and 2i + 2."""
    senders, receivers = [("input", 0)], []
    for i in range(decoder.layers):
        senders += [(f"{i}.h{h}", 2 * i + 1) for h in range(decoder.heads)] + [(f"{i}.mlp", 2 * i + 2)]
        receivers += [(f"{i}.q{h}", 2 * i) for h in range(decoder.heads)]
        receivers += [(f"{i}.{kind}{h}", 2 * i) for kind in "kv" for h in range(decoder.kv)] + [(f"{i}.mlp", 2 * i + 1)]
    return senders, [*receivers, (decoder.end, 2 * decoder.layers)]


def split(name):
    block, _, what = name.partition(".")
    return int(block), what[0], int(what[1:]) if what[1:].isdigit() else 0


def edges(decoder, left, right, grads):
    """What a sender writes, clean less corrupted, times the gradient at the receiver's own copy of the stream."""
    senders, receivers = nodes(decoder)

    def written(name):
        if name == "input":
            return left["input"] - right["input"]
        block, kind, head = split(name)
        at = (lambda v: v[f"{block}.result"][:, :, head]) if kind == "h" else (lambda v: v[f"{block}.mlp_out"])
        return at(left) - at(right)

    def asked(grad, name):
        if name == decoder.end:
            return grad["end"]
        block, kind, head = split(name)
        return grad[f"{block}.mlp_in"] if kind == "m" else grad[f"{block}.{kind}_in"][:, :, head]

    out = {}
    for way, grad in grads.items():
        table = torch.zeros(len(senders), len(receivers))
        for s, (sender, written_at) in enumerate(senders):
            for r, (receiver, read_at) in enumerate(receivers):
                if written_at <= read_at:
                    table[s, r] = (written(sender) * asked(grad, receiver)).sum()
        out[way] = table
        for s, (sender, _) in enumerate(senders):
            if sender != "input" and split(sender)[1] == "h":
                block, _, head = split(sender)
                node = ((left[f"{block}.z"] - right[f"{block}.z"]) * grad[f"{block}.z"])[:, :, head].sum()
                assert abs(table[s].sum() - node) < 1e-5, "the edges out of a head are the head"
    print(f"edges: {table.shape}, largest {out['corrupted'].abs().max():.4f}")
    return out, {"senders": [s for s, _ in senders], "receivers": [r for r, _ in receivers]}


def path_patching(decoder, clean, left, right, target):
    """What the receiver holds when only the sender is corrupted and every other head (and MLP, unless they are `computed`) is frozen to the
    clean run; then the clean run with the receiver holding that (Wang et al. 2022, appendix B)."""
    senders, receivers = nodes(decoder)
    with torch.no_grad():
        whole = decoder.run(clean)[0, target]
        tables = {}
        for way in ("frozen", "computed"):
            table = torch.zeros(len(senders), len(receivers))
            for s, (sender, written_at) in enumerate(senders):
                block, kind, head = split(sender) if sender != "input" else (-1, "i", 0)

                def freeze(name, value):
                    at, _, point = name.partition(".")
                    if name == "input":
                        return right["input"] if sender == "input" else value
                    if point == "z":
                        value = left[name].clone()
                        if kind == "h" and int(at) == block:
                            value[:, :, head] = right[name][:, :, head]
                        return value
                    if point == "mlp_out":
                        if kind == "m" and int(at) == block:
                            return right[name]
                        return left[name] if way == "frozen" else value
                    return value

                held = {}
                logits = decoder.run(clean, lambda name, value: held.setdefault(name, freeze(name, value)))
                for r, (receiver, read_at) in enumerate(receivers):
                    if written_at > read_at:
                        continue
                    if receiver == decoder.end:
                        table[s, r] = logits[0, target] - whole
                        continue
                    to, what, index = split(receiver)

                    def patch(name, value):
                        if what == "m" and name == f"{to}.mlp_in":
                            return held[name]
                        if what != "m" and name == f"{to}.{what}":
                            value = value.clone()
                            value[:, :, index] = held[name][:, :, index]
                        return value

                    table[s, r] = decoder.run(clean, patch)[0, target] - whole
            tables[way] = table
    print(f"paths: largest frozen {tables['frozen'].abs().max():.4f}, computed {tables['computed'].abs().max():.4f}")
    return tables | {"clean": whole}


def knockout_of_tower(tower, x, target):
    """Edges between a class token and patches cut in one layer at a time; the last block, which nothing reads, changes nothing."""
    length = x.shape[1]
    patches = list(range(1, length))
    kinds = [(patches, [0]), ([0], patches), (patches, patches)]
    change = torch.zeros(len(kinds), tower.tower.config.num_hidden_layers)
    with torch.no_grad():
        whole = tower.run(x)[0, target]
        for kind, (keys, queries) in enumerate(kinds):
            hidden = torch.zeros(length, length, dtype=torch.bool)
            for query in queries:
                hidden[query, [key for key in keys if key != query]] = True
            for layer in range(tower.layers):
                cut = lambda name, value: value.masked_fill(hidden, torch.finfo(torch.float32).min) if name == f"{layer}.scores" else value
                change[kind, layer] = tower.run(x, cut)[0, target] - whole
    print(f"knock-out in the tower: change from {change.min():.4f} to {change.max():.4f}, of {whole:.4f}")
    return change


def of_tower(q, other, about):
    """The same of the tower, a few tables of it."""
    tower = Tower(q)
    clean, wrong = tower.enter(q), tower.enter(other)
    for x, logits in ((clean, q.logits), (wrong, other.logits)):
        with torch.no_grad():
            assert torch.allclose(tower.run(x)[0], logits, atol=1e-5), "the tower written out is another"
    left, right = tower.read(clean)[0], tower.read(wrong)[0]
    grads = gradients(tower, clean, wrong, q.target)
    scores = attribution(tower, left, right, grads)
    kept = [f"{way}.{table}" for way in ("corrupted", "path") for table in ("resid_pre", "z.heads", "mlp.post.neurons")]
    found, named = edges(tower, left, right, grads)
    out = {f"attribution.{name}": scores[name] for name in kept} | {"edges": found["corrupted"]}
    paths = path_patching(tower, clean, left, right, q.target)
    out |= {"paths": paths["frozen"], "clean": paths["clean"], "knockout": knockout_of_tower(tower, clean, q.target)}
    kinds = {"kinds": ["patches to class token", "class token to patches", "patches to patches"]}
    path = common.save(FOLDER / "patching-tower.safetensors", out, about | named | kinds | {"steps": STEPS})
    print(f"tower: {path.stat().st_size / 1024:.1f} KiB")


def main():
    checkpoint = trace.open_checkpoint(FIXTURES / "llava-a" / "model")
    q, other = Question(checkpoint, "<image>Red?", "square"), Question(checkpoint, "<image>Red?", "tall")
    decoder = Decoder(q)
    clean, wrong = decoder.enter(q), decoder.enter(other)
    for question, x in ((q, clean), (other, wrong)):
        with torch.no_grad():
            assert torch.allclose(decoder.run(x)[0], question.logits, atol=1e-5), "the decoder written out is another"
    left, _, _ = decoder.read(clean)
    right, _, _ = decoder.read(wrong)
    about = {"clean": q.about, "corrupted": other.about, "metric": "logit of `target` of the clean question at the last position"}
    grads = gradients(decoder, clean, wrong, q.target)
    knockout(q, decoder)
    scores = attribution(decoder, left, right, grads)
    common.save(FOLDER / "attribution.safetensors", scores, about | {"steps": STEPS, "axes": "layer pos; layer head pos; layer neuron"})
    found, named = edges(decoder, left, right, grads)
    common.save(FOLDER / "edges.safetensors", found, about | named | {"steps": STEPS})
    common.save(FOLDER / "path.safetensors", path_patching(decoder, clean, left, right, q.target), about | named)
    of_tower(q, other, about)


if __name__ == "__main__":
    main()

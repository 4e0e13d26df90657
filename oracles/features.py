"""What lies in the space that pictures and captions share, in NumPy on transformers' vectors: `fixtures/methods/modality-gap.safetensors`,
`embedding-parts.safetensors`, `text-span.safetensors` and `splice.safetensors` there.

`clip-a` (and `siglip-a`, of the gap) over the same pictures and captions. Directions and orders are drawn from the rules that mmlens states (`probes.py`). Terms of the
class token are made with transformers' weights from what its modules gave; TextSpan is the authors' loop, with SVD, on rows of whole vectors.
"""

import math

import common
import numpy as np
import torch
from common import FIXTURES
from PIL import Image
from sklearn.linear_model import Lasso, LogisticRegression

import pictures
import trace
from probes import at, unit

PICTURES = ("square", "wide", "tall", "tiny", "rgba")
TEXTS = ("a photo of a red circle", "two blue squares", "ring", "a cat", "The SMALL yellow star")
CASES = [(PICTURES[i % 5], TEXTS[(2 * i + i // 5) % 5]) for i in range(15)]
SEED, DRAWS, SHARE, TOP = 5, 7, 0.3, 3
SHIFTS = (0.0, 0.25, 0.5)
DIRECTIONS, KINDS = 1 << 32, 1 << 33


def normal(seed):
    radius, angle = 1.0 - unit(at(seed, 0)), unit(at(seed, 1))
    return math.sqrt(-2 * math.log(radius)) * math.cos(math.tau * angle)


def direction(width, seed):
    drawn = np.array([normal(at(seed, i)) for i in range(width)])
    return drawn / np.linalg.norm(drawn)


def order(count, seed):
    return sorted(range(count), key=lambda i: (at(seed, i), i))


def opened(picture):
    return Image.open(pictures.FOLDER / f"{picture}.png")


def batch(checkpoint, picture, texts):
    return trace.prepare(checkpoint, [{"images": [opened(picture)], "texts": list(texts)}])


def vectors(name):
    """Of every case its picture and its caption in the shared space, as they are projected."""
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    seen, read = [], []
    for picture, text in CASES:
        sites, *_ = trace.run(checkpoint, batch(checkpoint, picture, [text]))
        seen.append(sites["vision.projected"][0].double().numpy())
        read.append(sites["text.projected"][0].double().numpy())
    return np.stack(seen), np.stack(read)


def normed(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def held_out(count):
    drawn = sorted((at(SEED, i), i) for i in range(count))
    chosen = {i for _, i in drawn[: min(max(math.floor(SHARE * count + 0.5), 1), count - 1)]}
    return np.array([i in chosen for i in range(count)])


def most_alike(rows, others):
    likeness = rows @ others.T
    # Captions come several times; those that are the same are as alike.
    most = likeness.max(1, keepdims=True)
    ties = likeness >= most - 1e-12
    return np.mean([ties[i, i] / ties[i].sum() for i in range(len(rows))])


def gap(name):
    seen, read = vectors(name)
    lengths = [np.linalg.norm(rows, axis=1).mean() for rows in (seen, read)]
    x, y = normed(seen), normed(read)
    n = len(x)
    delta = x.mean(0) - y.mean(0)
    both = np.concatenate([x, y])
    shuffled = []
    for k in range(DRAWS):
        taken = order(2 * n, at(SEED, k))
        shuffled.append(np.linalg.norm(both[taken[:n]].mean(0) - both[taken[n:]].mean(0)))
    length = np.linalg.norm(delta)
    own = lambda rows: (rows @ rows.T)[~np.eye(n, dtype=bool)].mean()
    between = x @ y.T
    cone = [own(x), own(y), np.trace(between) / n, between[~np.eye(n, dtype=bool)].mean()]
    out = np.concatenate([held_out(n)] * 2)
    labels = np.repeat([0, 1], n)
    taken = order(int((~out).sum()), at(SEED, KINDS))
    told = []
    for kept in (labels[~out], labels[~out][taken]):
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10000).fit(both[~out], kept)
        told.append(model.score(both[out], labels[out]))
    told.append(np.mean(labels[out] == 0))
    shifted = []
    for shift in SHIFTS:
        a, b = normed(x - shift * delta), normed(y + shift * delta)
        shifted.append([np.linalg.norm(a.mean(0) - b.mean(0)), most_alike(a, b), most_alike(b, a), 1 / n])
    shares = lambda v: np.sort(v**2 / (v @ v))[::-1][:TOP]
    random = np.mean([shares(direction(len(delta), at(SEED, DIRECTIONS + k))) for k in range(DRAWS)], axis=0)
    dimensions = np.stack([shares(delta), random], 1)
    print(name, "gap", length, "shuffled", shuffled, "cone", cone, "told", told, "shifted", shifted, sep="\n  ")
    return {
        f"{name}.gap": np.array([length, np.mean(shuffled), np.max(shuffled)]),
        f"{name}.p": np.array([(1 + sum(s >= length for s in shuffled)) / (1 + DRAWS)]),
        f"{name}.cone": np.array(cone),
        f"{name}.separability": np.array(told),
        f"{name}.shifted": np.array(shifted),
        f"{name}.dimensions": dimensions,
        f"{name}.by_dimension": delta,
        f"{name}.lengths": np.array(lengths),
    }


def painted(seed):
    """The picture of the tests that depends on a number."""
    x, y, c = np.meshgrid(np.arange(8), np.arange(8), np.arange(3), indexing="xy")
    return Image.fromarray(((x * 37 + y * 91 + c * 53 + seed * 29) * 17 % 256).astype(np.uint8))


class Class:
    """The class token of one picture in `clip-a`, and how it is read."""

    def __init__(self, checkpoint, image, texts):
        model = checkpoint.model
        inputs = trace.prepare(checkpoint, [{"images": [image], "texts": list(texts)}])
        sites, *_ = trace.run(checkpoint, inputs)
        self.sites = {name: x.double().numpy() for name, x in sites.items() if x.is_floating_point()}
        tower, wide = model.vision_model, lambda x: x.detach().double().numpy()
        self.layers, norm = tower.encoder.layers, tower.post_layernorm
        self.gain, self.bias, self.p = wide(norm.weight), wide(norm.bias), wide(model.visual_projection.weight)
        last = self.site(len(self.layers) - 1, "resid_post")[0, 0]
        self.scale = np.sqrt(last.var() + norm.eps)
        self.embedding = self.sites["vision.projected"][0]
        self.length = np.linalg.norm(self.embedding)
        self.texts = normed(self.sites["text.projected"])

    def site(self, layer, point):
        return self.sites[f"vision.blocks.{layer}.{point}"]

    def term(self, x):
        """What a term of the stream is in the shared space, as a share of the vector of length one."""
        return self.p @ (self.gain * (x - x.mean(-1, keepdims=True)) / self.scale).T / self.length if x.ndim == 1 else np.stack([self.term(y) for y in x])

    def constant(self):
        return self.p @ self.bias / self.length

    def outputs(self, layer):
        o = self.layers[layer].self_attn.out_proj
        return o.weight.detach().double().numpy(), o.bias.detach().double().numpy()

    def heads(self, layer):
        """What each head writes, `[heads, d]`, and what it writes by attending to each token, `[heads, tokens, d]`."""
        z, v, pattern = self.site(layer, "attn.z")[0, 0], self.site(layer, "attn.v")[0], self.site(layer, "attn.pattern")[0, :, 0]
        weight, _ = self.outputs(layer)
        heads, width = z.shape
        by_head = weight.reshape(-1, heads, width)
        whole = np.stack([by_head[:, h] @ z[h] for h in range(heads)])
        tokens = np.stack([pattern[h][:, None] * (v[:, h] @ by_head[:, h].T) for h in range(heads)])
        assert np.abs(tokens.sum(1) - whole).max() < 1e-5 * np.abs(whole).max()
        return whole, tokens


PARTS = ("wide", ("a photo of a red circle", "two blue squares", "ring"))


def parts():
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    own = Class(checkpoint, opened(PARTS[0]), PARTS[1])
    u, layers = own.texts, len(own.layers)
    heads, tokens, written, biases, random = [], [], [], [], []
    for layer in range(layers):
        whole, each = own.heads(layer)
        heads.append(own.term(whole) @ u.T)
        random.append(np.linalg.norm(own.term(whole), axis=1) / np.sqrt(u.shape[1]))
        tokens.append(np.einsum("htd,cd->ct", np.stack([own.term(x) for x in each]), u))
        written.append(np.stack([u @ own.term(own.site(layer, point)[0, 0]) for point in ("attn_out", "mlp_out")], 1))
        biases.append(u @ own.term(own.outputs(layer)[1]))
    heads, tokens, written = (np.stack(x) for x in (heads, tokens, written))
    outside = np.stack([u @ own.term(own.sites["vision.input"][0, 0]), u @ own.constant()], 1)
    cosine = u @ own.embedding / own.length
    gap = cosine - written.sum((0, 2)) - outside.sum(1)
    print("parts", "gap", gap, "cosine", cosine, "heads", heads.shape, "tokens", tokens.shape)
    assert np.abs(gap).max() < 1e-6
    by_caption = heads.transpose(2, 0, 1)
    against = by_caption - np.stack([np.delete(by_caption, i, 0).mean(0) for i in range(len(u))])
    return {
        "heads": by_caption,
        "against": against,
        "layers": written.transpose(1, 0, 2),
        "outside": outside,
        "patches_by_layer": tokens.transpose(1, 0, 2),
        "cosine": cosine,
        "random": np.stack(random),
        "biases": np.stack(biases, 1),
    }


LIST = ["red", "blue", "green", "a dog", "two cats", "ring", "star", "square", "a circle", "small", "LARGE", "left of", "yellow star", "photo", "it", "is it", "no", "one", "three rings", "big red square"]
SPANNED = {"count": 4, "draws": 3, "seed": 9, "pictures": 12}


def greedy(data, texts, count, rank):
    """The authors' loop, and what share of the variance is explained after each text."""
    _, _, vh = np.linalg.svd(data, full_matrices=False)
    vh = vh[:rank]
    texts = texts @ vh.T @ vh
    data = data - data.mean(0)
    total, picked, explained = (data**2).sum(), [], []
    for _ in range(count):
        best = int(((data @ texts.T) ** 2).sum(0).argmax())
        t = texts[best] / np.linalg.norm(texts[best])
        data, texts = data - np.outer(data @ t, t), texts - np.outer(texts @ t, t)
        picked.append(best)
        explained.append(1 - (data**2).sum() / total)
    return picked, explained


def in_turn(data, directions, count):
    data = data - data.mean(0)
    q, _ = np.linalg.qr(directions[:count].T)
    return [1 - ((data - data @ q[:, :m] @ q[:, :m].T) ** 2).sum() / (data**2).sum() for m in range(1, count + 1)]


def text_span():
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    count, draws, seed = SPANNED["count"], SPANNED["draws"], SPANNED["seed"]
    seen = [Class(checkpoint, painted(i), ["ring"]) for i in range(SPANNED["pictures"])]
    texts = Class(checkpoint, painted(0), LIST).texts
    out = {name: [] for name in ("texts", "explained", "cut", "random_texts", "components", "variance")}
    for layer in range(len(seen[0].layers)):
        for head in range(seen[0].site(layer, "attn.z").shape[2]):
            data = np.stack([own.term(own.heads(layer)[0][head]) for own in seen])
            rank = np.linalg.matrix_rank(data, tol=1e-6 * np.linalg.norm(data))
            picked, explained = greedy(data, texts, count, rank)
            _, vh = np.linalg.svd(data, full_matrices=False)[1:]
            spanned = texts @ vh[:rank].T @ vh[:rank]
            centred = data - data.mean(0)
            values = np.linalg.svd(centred, compute_uv=False) ** 2
            out["texts"].append(picked)
            out["explained"].append(explained)
            out["cut"].append(greedy(data, texts, 2, 3)[0])
            out["random_texts"].append(np.mean([in_turn(data, spanned[order(len(LIST), at(seed, k))], count) for k in range(draws)], axis=0))
            out["components"].append(np.cumsum(values)[:count] / values.sum())
            out["variance"].append((centred**2).sum() / len(data))
            print("text-span", layer, head, [LIST[i] for i in picked], np.round(explained, 3), np.round(out["random_texts"][-1], 3), np.round(out["components"][-1], 3), "rank", rank)
    return {name: np.array(x) for name, x in out.items()}


SPARSE = {"l1": 0.15, "path": [0.05, 0.4], "seed": 3}


def coded(z, atoms, l1):
    """scikit-learn divides the square by twice the numbers of the target."""
    model = Lasso(alpha=l1 / (2 * len(z)), positive=True, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
    return model.fit(atoms.T, z).coef_


def splice(name):
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    projected = lambda image, texts: trace.run(checkpoint, trace.prepare(checkpoint, [{"images": [image], "texts": texts}]))[0]
    seen = normed(np.stack([projected(painted(i), ["ring"])["vision.projected"][0].double().numpy() for i in range(SPANNED["pictures"])]))
    atoms = normed(projected(painted(0), LIST)["text.projected"].double().numpy())
    width = seen.shape[1]
    drawn = np.stack([direction(width, at(at(SPARSE["seed"], 0), i)) for i in range(len(LIST))])
    mean = seen.mean(0)
    centred, atoms, drawn = (normed(x - x.mean(0)) for x in (seen, atoms, drawn))

    def made(weights, dictionary):
        whole = weights @ dictionary
        length = np.linalg.norm(whole, axis=1, keepdims=True)
        return (normed(np.divide(whole, length, out=np.zeros_like(whole), where=length > 0) + mean) * seen).sum(1)

    at_l1 = lambda dictionary, l1: np.stack([coded(z, dictionary, l1) for z in centred])
    weights, random = at_l1(atoms, SPARSE["l1"]), at_l1(drawn, SPARSE["l1"])
    alone = seen @ mean / np.linalg.norm(mean)
    path = []
    for l1 in SPARSE["path"]:
        own, other = at_l1(atoms, l1), at_l1(drawn, l1)
        path.append([(own > 0).sum(1).mean(), made(own, atoms).mean(), (other > 0).sum(1).mean(), made(other, drawn).mean()])
    print("splice", name, "count", (weights > 0).sum(1), "path", path, "least weight", weights[weights > 0].min())
    return {
        f"{name}.weights": weights,
        f"{name}.cosine": np.stack([made(weights, atoms), alone, made(random, drawn)], 1),
        f"{name}.count": np.stack([(weights > 0).sum(1), (random > 0).sum(1)], 1).astype(float),
        f"{name}.path": np.array(path),
    }


def main():
    about = {
        "cases": CASES,
        "seed": SEED,
        "draws": DRAWS,
        "held_out": SHARE,
        "top": TOP,
        "shifts": SHIFTS,
        "library": f"numpy {np.__version__}, scikit-learn {__import__('sklearn').__version__}",
    }
    path = common.save(FIXTURES / "methods" / "modality-gap.safetensors", gap("clip-a") | gap("siglip-a"), about)
    print(f"{path.stat().st_size / 1024:.1f} KiB")
    path = common.save(FIXTURES / "methods" / "embedding-parts.safetensors", parts(), {"picture": PARTS[0], "texts": PARTS[1]})
    print(f"{path.stat().st_size / 1024:.1f} KiB")
    path = common.save(FIXTURES / "methods" / "text-span.safetensors", text_span(), SPANNED | {"texts": LIST})
    print(f"{path.stat().st_size / 1024:.1f} KiB")
    about = SPARSE | {"texts": LIST, "library": "scikit-learn " + __import__("sklearn").__version__}
    path = common.save(FIXTURES / "methods" / "splice.safetensors", splice("clip-a") | splice("siglip-a"), about)
    print(f"{path.stat().st_size / 1024:.1f} KiB")


if __name__ == "__main__":
    main()

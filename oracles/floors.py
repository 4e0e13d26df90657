"""The floors of influence: scikit-learn's cosines of gradients and of states, and rank_bm25's scores with Lucene's idf: `fixtures/methods/floors-*.safetensors`."""

import math

import common
import numpy as np
import pictures
import torch
from common import FIXTURES
from PIL import Image
from rank_bm25 import BM25Okapi
from sklearn.metrics.pairwise import cosine_similarity

import trace
from methods import FOLDER

PICTURES = ["square", "wide", "tall", "clip-0"]
PROMPTS = ["<image>Red?", "<image>What is it?", "<image>Blue or red?", "<image>Red?"]
CLASSES = [3, 0, 5, 3]
# Questions of a data set, with their answers; the second setting damps and normalises otherwise.
TEXTS = [
    "What colour is the circle? red", "What colour is the square? blue", "How many circles are there? two",
    "Is there a red square? yes", "Is there a blue circle left of the square? no", "circle circle red circle",
    "What shape is left of the red circle? A square.", "How many things? 3", "yes", "What colour is the big circle? BLUE!",
    "Where is the circle, left or right? left", "Is it red? no",
]  # fmt: skip
QUERIES = ["What colour is the circle? blue", "left left", "Is the square red?", "a triangle", "3 things, how many?"]
SETTINGS = [[1.5, 0.75], [0.9, 0.4]]


def cosines(name, weights, values, states, about):
    """Cosines of all pairs of cases: of gradients of some matrices, and of states."""
    rows = []
    for value in values:
        rows.append(torch.cat([grad.double().flatten() for grad in torch.autograd.grad(value, weights, retain_graph=True)]).numpy())
    out = {"grad": torch.tensor(cosine_similarity(np.stack(rows))), "feature": torch.tensor(cosine_similarity(np.stack(states)))}
    common.save(FOLDER / f"floors-{name}.safetensors", out, about | {"checkpoint": f"fixtures/{name}/model", "pictures": PICTURES})
    print(name, out)


def opened(name):
    checkpoint = trace.open_checkpoint(FIXTURES / name / "model")
    for parameter in checkpoint.model.eval().parameters():
        parameter.requires_grad_(True)
    return checkpoint, checkpoint.model


def state(tensor):
    return tensor.detach().double().numpy()


def llava():
    checkpoint, model = opened("llava-a")
    values, states, targets = [], [], []
    for prompt, picture in zip(PROMPTS, PICTURES):
        batch = trace.prepare(checkpoint, [{"prompt": prompt, "images": [Image.open(pictures.FOLDER / f"{picture}.png")]}])
        said = model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False, output_hidden_states=True)
        targets.append(int(said.logits[0, -1].argmax()))
        values.append(torch.log_softmax(said.logits[0, -1], -1)[targets[-1]])
        # What leaves the first block, at the last position.
        states.append(state(said.hidden_states[1][0, -1]))
    weights = [model.model.multi_modal_projector.linear_2.weight, model.model.language_model.layers[1].mlp.down_proj.weight]
    names = ["connector.down", "text.blocks.1.mlp.down"]
    cosines("llava-a", weights, values, states, {"prompts": PROMPTS, "targets": targets, "weights": names, "site": "text.blocks.0.resid_post"})


def vit():
    checkpoint, model = opened("vit-a")
    values, states = [], []
    for picture, target in zip(PICTURES, CLASSES):
        pixels = trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}]).pixel_values
        values.append(torch.log_softmax(model(pixel_values=pixels).logits[0], -1)[target])
        states.append(state(model.vit(pixel_values=pixels).last_hidden_state[0, 0]))
    weights = [model.vit.layers[0].mlp.fc1.weight, model.classifier.weight]
    cosines("vit-a", weights, values, states, {"targets": CLASSES, "weights": ["vision.blocks.0.mlp.up", "vision.classifier"], "site": "vision.pooled"})


class Smoothed(BM25Okapi):
    """rank_bm25's BM25Okapi with the idf of Lucene, which is never negative."""

    def _calc_idf(self, nd):
        for word, df in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - df + 0.5) / (df + 0.5))


def words(text):
    """Runs of letters and digits, in lower case."""
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def by_formula(query, corpus, k1, b):
    """The same from the formula alone."""
    mean = sum(map(len, corpus)) / len(corpus)
    scores = []
    for own in corpus:
        score = 0.0
        for word in query:
            df, tf = sum(word in other for other in corpus), own.count(word)
            if df:
                idf = math.log(1 + (len(corpus) - df + 0.5) / (df + 0.5))
                score += idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(own) / mean))
        scores.append(score)
    return scores


def bm25():
    corpus, out = [words(text) for text in TEXTS], {}
    for at, (k1, b) in enumerate(SETTINGS):
        index = Smoothed(corpus, k1=k1, b=b)
        scores = np.stack([index.get_scores(words(query)) for query in QUERIES])
        assert np.allclose(scores, [by_formula(words(query), corpus, k1, b) for query in QUERIES], rtol=1e-12)
        out[f"scores.{at}"] = torch.tensor(scores)
    common.save(FOLDER / "floors-bm25.safetensors", out, {"texts": TEXTS, "queries": QUERIES, "settings": SETTINGS})
    print(out)


if __name__ == "__main__":
    llava()
    vit()
    bm25()

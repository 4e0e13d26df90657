"""What `llava-a` and `gpt2-a`, which sees no pictures, answer behind the first sentences of a chain of thought, in transformers: `fixtures/methods/early-answering-*.safetensors`.

Of each number of sentences, and of filler and a mistake in the place of the chain, the greedy answer and the log-probability of the tokens that it gives behind the whole chain.
"""

import common
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER
from modality import answer

# A prompt, a picture, and what stands again and again in the place of the chain: the paper's, and another.
CASES = {"llava-a": ("<image>Is it big", "square", " ..."), "gpt2-a": ("Is it", None, " so")}
ASK, NEW, ANEW = " so it is", 3, 4
CHAINS = {"llava-a": ["It is left. ", "Red, it is!\n", "So it is the big."], "gpt2-a": ["It is. ", "Red!\n", "So."]}
MISTAKE = {"at": 1, "sentence": "It is not red. "}


def look(name):
    checkpoint = trace.open_checkpoint(common.FIXTURES / name / "model")
    (prompt, picture, filler), chain = CASES[name], CHAINS[name]
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    shown = {} if picture is None else {"images": [Image.open(pictures.FOLDER / f"{picture}.png")]}
    batch = trace.prepare(checkpoint, [{"prompt": prompt} | shown])
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]

    def logits(tokens):
        ids = torch.cat([batch.input_ids, torch.tensor([tokens], dtype=batch.input_ids.dtype)], 1)
        with torch.no_grad():
            return model(input_ids=ids, use_cache=False, **batch.shown()).logits[0, batch.input_ids.shape[1] - 1 :].double()

    def write(text, count):
        before, said = answer(tokenizer, prompt, text), []
        for _ in range(count):
            best = logits(before + said)[-1].topk(2)
            assert best.values[0] - best.values[1] > 1e-3, best
            said.append(int(best.indices[0]))
            if said[-1] in ends:
                break
        return before, said

    text = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)
    count = lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)
    instead = filler * -(-count("".join(chain)) // count(filler))
    begun = "".join(chain[: MISTAKE["at"]]) + MISTAKE["sentence"]
    mistaken = begun + text(write(begun, ANEW)[1])
    chains = ["".join(chain[:kept]) for kept in range(len(chain) + 1)] + [instead, mistaken]
    made = [write(before + ASK, NEW) for before in chains]
    whole = made[len(chain)][1]
    logs = []
    for before, _ in made:
        rows = logits(before + whole)[len(before) :].log_softmax(-1)
        logs.append(sum(rows[i, token] for i, token in enumerate(whole)))
    out = {"log probability": torch.stack(logs)}
    answers = [text(said) for _, said in made]
    about = {"prompt": prompt, "picture": picture, "filler": filler, "ask": ASK, "max_new": NEW, "chain": chain, "mistake": MISTAKE, "anew": ANEW, "chains": chains, "answers": answers}
    common.save(FOLDER / f"early-answering-{name}.safetensors", out, about)
    print(answers, chains[-2:], out)


if __name__ == "__main__":
    for name in CASES:
        look(name)

"""What `llava-a` answers behind the first sentences of a chain of thought, in transformers: `fixtures/methods/early-answering.safetensors`.

Of each number of sentences, and of dots and a mistake in the place of the chain, the greedy answer and the log-probability of the tokens that it gives behind the whole chain.
"""

import common
import torch
from PIL import Image

import pictures
import trace
from methods import FOLDER
from modality import answer

PROMPT, PICTURE, ASK, NEW, ANEW = "<image>Is it big", "square", " so it is", 3, 4
CHAIN = ["It is left. ", "Red, it is!\n", "So it is the big."]
MISTAKE = {"at": 1, "sentence": "It is not red. "}


def main():
    checkpoint = trace.open_checkpoint(common.FIXTURES / "llava-a" / "model")
    tokenizer, model = checkpoint.processor.tokenizer, checkpoint.model
    batch = trace.prepare(checkpoint, [{"prompt": PROMPT, "images": [Image.open(pictures.FOLDER / f"{PICTURE}.png")]}])
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]

    def logits(tokens):
        ids = torch.cat([batch.input_ids, torch.tensor([tokens], dtype=batch.input_ids.dtype)], 1)
        with torch.no_grad():
            return model(input_ids=ids, pixel_values=batch.pixel_values, use_cache=False).logits[0, batch.input_ids.shape[1] - 1 :].double()

    def write(text, count):
        before, said = answer(tokenizer, PROMPT, text), []
        for _ in range(count):
            best = logits(before + said)[-1].topk(2)
            assert best.values[0] - best.values[1] > 1e-3, best
            said.append(int(best.indices[0]))
            if said[-1] in ends:
                break
        return before, said

    text = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)
    dots = " ..." * -(-len(tokenizer("".join(CHAIN), add_special_tokens=False).input_ids) // len(tokenizer(" ...", add_special_tokens=False).input_ids))
    begun = "".join(CHAIN[: MISTAKE["at"]]) + MISTAKE["sentence"]
    mistaken = begun + text(write(begun, ANEW)[1])
    chains = ["".join(CHAIN[:kept]) for kept in range(len(CHAIN) + 1)] + [dots, mistaken]
    made = [write(chain + ASK, NEW) for chain in chains]
    whole = made[len(CHAIN)][1]
    logs = []
    for before, _ in made:
        rows = logits(before + whole)[len(before) :].log_softmax(-1)
        logs.append(sum(rows[i, token] for i, token in enumerate(whole)))
    out = {"log probability": torch.stack(logs)}
    answers = [text(said) for _, said in made]
    about = {"prompt": PROMPT, "picture": PICTURE, "ask": ASK, "max_new": NEW, "chain": CHAIN, "mistake": MISTAKE, "anew": ANEW, "chains": chains, "answers": answers}
    common.save(FOLDER / "early-answering.safetensors", out, about)
    print(answers, chains[-2:], out)


if __name__ == "__main__":
    main()

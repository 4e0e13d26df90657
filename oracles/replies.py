"""Where a chat template puts an answer, and its tokens, as transformers has them; and what each token of it is worth behind the
prompt.

Writes fixtures/replies.json: for a checkpoint, a question and an answer, the prompt's ids and those of the answer behind them.
`python replies.py` (versions: requirements.txt)."""

import json
import pathlib

from transformers import AutoTokenizer

from common import FIXTURES

# No pictures: what an answer's tokens are does not depend on them.
MODELS = [
    "gemma2-a",
    "llama-a",
    "llava-a",
    "mistral-a",
    "qwen2-a",
    "qwen2.5-vl-a",
    "qwen3-a",
    "smolvlm-a",
]
ANSWERS = ["red", "a red circle", "Größe 円", " blue", "blue ", "\nb"]
QUESTION = "What is it?"


def template_of(folder, tokenizer):
    for name in ("chat_template.jinja", "chat_template.json"):
        file = folder / name
        if file.exists():
            text = file.read_text()
            return json.loads(text)["chat_template"] if name.endswith("json") else text
    return tokenizer.chat_template


def row(model, answer):
    folder = pathlib.Path(FIXTURES) / model / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = template_of(folder, tokenizer)
    blind = not any((folder / name).exists() for name in ("preprocessor_config.json", "processor_config.json"))
    content = (lambda text: text) if blind else (lambda text: [{"type": "text", "text": text}])
    asked = [{"role": "user", "content": content(QUESTION)}]
    whole = asked + [{"role": "assistant", "content": content(answer)}]
    make = lambda messages, **how: tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, **how
    )
    prompt, text = make(asked, add_generation_prompt=True), make(whole, continue_final_message=True)
    behind = text[len(prompt) :] if text.startswith(prompt) else answer
    # More than spaces between prompt and answer is none of the answer.
    if behind[: behind.index(answer.strip())].strip():
        behind = answer
    begun = tokenizer.bos_token and prompt.startswith(tokenizer.bos_token)
    special = not begun and not blind
    own = tokenizer(prompt, add_special_tokens=special).input_ids
    both = tokenizer(prompt + behind, add_special_tokens=special).input_ids
    together = both[: len(own)] == own
    ids = both[len(own) :] if together else tokenizer(behind, add_special_tokens=False).input_ids
    return {"model": model, "ask": QUESTION, "answer": answer, "prompt": prompt, "behind": behind, "together": together, "ids": ids}


def main():
    rows = [row(model, answer) for model in MODELS for answer in ANSWERS]
    (pathlib.Path(FIXTURES) / "replies.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    for one in rows:
        print(one["model"], repr(one["answer"]), repr(one["behind"]), one["together"], one["ids"])


if __name__ == "__main__":
    main()

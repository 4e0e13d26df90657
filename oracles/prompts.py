"""Rows of text and pictures to what a processor makes of them: chat templates, BOS, padding on the left."""

from passes import Batch


def chat(processor, question, images=(), videos=(), recordings=()):
    """The checkpoint's chat template on one user turn: the pictures first, then the clips, the recordings, the question. Text, and whether the
    tokenizer is to put a BOS before it: not where the template has."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    content = [{"type": "image", "image": i} for i in images] + [{"type": "video", "video": v} for v in videos]
    content += [{"type": "audio", "audio": r} for r in recordings]
    content += [{"type": "text", "text": question}]
    if processor is tokenizer:
        content = question  # templates of language models know text alone
    messages = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, tokenize=False)
    return text, messages, template


def texts(processor, rows):
    """For each row its text; and whether special tokens are added, the same for all."""
    tokenizer = getattr(processor, "tokenizer", processor)
    prompts, special = [], set()
    for row in rows:
        if "ask" in row:
            text, _, _ = chat(processor, row["ask"], row.get("images", ()), row.get("videos", ()), row.get("recordings", ()))
            # A tokenizer's own `apply_chat_template` adds no special tokens, a processor's those that are not there yet.
            begun = processor is tokenizer or (tokenizer.bos_token and text.startswith(tokenizer.bos_token))
            special.add(not begun)
        else:
            text = row["prompt"]
            special.add(True)
        prompts.append(text)
    if len(special) != 1:
        raise ValueError("rows that need a BOS and rows that bring one cannot share a batch")
    return prompts, special.pop()


def prepare(checkpoint, rows, more=(), videos_as=list, nested=False, **options):
    """What a processor for pictures and text makes of rows. `more` names further outputs that the model takes; `nested`: pictures are
    given row by row."""
    processor = checkpoint.processor
    prompts, special = texts(processor, rows)
    images = [image for row in rows for image in row.get("images", ())]
    videos = [videos_as(video) for row in rows for video in row.get("videos", ())]
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    options |= {"videos": videos} if videos else {}
    given = processor(
        text=list(prompts),
        images=([list(row.get("images", ())) for row in rows] if nested else images) if images else None,
        add_special_tokens=special,
        padding=len(rows) > 1,
        return_tensors="pt",
        **options,
    )
    if len(rows) == 1 and "ask" in rows[0] and not videos:
        _, messages, template = chat(processor, rows[0]["ask"], images)
        ids = processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )["input_ids"]
        assert given["input_ids"].equal(ids), "apply_chat_template(tokenize=True) gives other tokens"
    extra = {name: given[name] for name in more if name in given}
    return Batch(given["input_ids"], given["attention_mask"], given.get("pixel_values"), prompts, extra)

"""BERT: encoder of text, with its head of masked words or bare. One row: `{"prompt": RAW}`, or `{"texts": [...]}`, padded on the right."""

import torch
from transformers import AutoTokenizer, BertForMaskedLM, BertModel

import verify as equations
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    from transformers import AutoConfig

    bare = AutoConfig.from_pretrained(folder).architectures == ["BertModel"]
    model = (BertModel if bare else BertForMaskedLM).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoTokenizer.from_pretrained(folder), folder)


def prepare(checkpoint, rows):
    [row] = rows
    if row.get("images") or row.get("videos") or "ask" in row:
        raise SystemExit("BERT reads texts: give --prompt or --text")
    texts = list(row["texts"]) if "texts" in row else [row["prompt"]]
    made = checkpoint.processor(texts, padding=True, return_tensors="pt", padding_side="right")
    # Not every tokenizer gives them; one text is all of the first kind.
    assert "token_type_ids" not in made or not made["token_type_ids"].any()
    return Batch(made["input_ids"], made["attention_mask"], None, texts, counts=False)


def arguments(batch):
    return batch.kwargs()


def forward(model, given):
    out = model(**given)
    if hasattr(out, "logits"):
        return {"logits": out.logits}, out.logits[:, -1]
    return {}, out.last_hidden_state[:, -1]


def body(model):
    return getattr(model, "bert", model)


def attach(recorder, checkpoint):
    bert = body(checkpoint.model)
    recorder.embedding(bert.embeddings.word_embeddings, "text.embed")
    recorder.after(bert.embeddings, "text.input")
    stack(recorder, "text", bert.encoder.layer)
    if bert.pooler is not None:
        recorder.after(bert.pooler, "text.pooled")


def stack(recorder, part, layers):
    """Post-norm blocks under BERT's names, with cross-attention where they have it."""
    for i, block in enumerate(layers):
        found = lambda attn: Heads(attn.self, (attn.self.query, attn.self.key, attn.self.value), attn.output.dense, attn.self.attention_head_size)
        mlp = Mlp(block.intermediate.dense, block.output.dense, block.intermediate.intermediate_act_fn)
        cross = getattr(block, "crossattention", None)
        more = {} if cross is None else {"cross": found(cross), "cross_norm": cross.output.LayerNorm}
        norms = (block.attention.output.LayerNorm, block.output.LayerNorm)
        recorder.post_norm(f"{part}.blocks.{i}", block, found(block.attention), mlp, *norms, **more)
    recorder.alias(f"{part}.final_norm", f"{part}.blocks.{len(layers) - 1}.normalized_resid_post")


def verify(checkpoint, batch, sites, recorder):
    model, bert = checkpoint.model, body(checkpoint.model)
    real = batch.attention_mask.bool()
    own = model(**batch.kwargs(), output_hidden_states=True, output_attentions=True)
    equations.stream("text", sites, own.hidden_states, own.attentions, real)
    close("text.final_norm", sites["text.final_norm"][real], own.hidden_states[-1][real])
    embeddings = bert.embeddings
    close("text.embed", sites["text.embed"], embeddings.word_embeddings(batch.input_ids))
    joined = sites["text.embed"] + embeddings.token_type_embeddings.weight[0] + embeddings.position_embeddings.weight[: real.shape[1]]
    close("text.input", sites["text.input"], embeddings.LayerNorm(joined))
    if "logits" in sites:
        close("logits", sites["logits"], own.logits)
        close("logits", model.cls(sites["text.final_norm"]), own.logits)
    else:
        close("text.pooled", sites["text.pooled"], own.pooler_output)
    equations.blocks(recorder, sites)

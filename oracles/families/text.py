"""Language models without pictures: LLaMA and whoever has its module names (Mistral, Qwen2, Qwen3, Gemma 2), and GPT-2."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import prompts
import verify as equations
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoTokenizer.from_pretrained(folder), folder)


def prepare(checkpoint, rows):
    tokenizer = checkpoint.processor
    if any(row.get("images") or row.get("videos") for row in rows):
        raise SystemExit("a language model sees no pictures")
    texts, special = prompts.texts(tokenizer, rows)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if len(rows) == 1 and "ask" in rows[0]:
        messages = [{"role": "user", "content": rows[0]["ask"]}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert tokenizer(texts[0], add_special_tokens=special)["input_ids"] == ids, "apply_chat_template gives other tokens"
    given = tokenizer(texts, add_special_tokens=special, padding=len(rows) > 1, return_tensors="pt")
    return Batch(given["input_ids"], given["attention_mask"], None, texts)


def attach(recorder, checkpoint):
    if checkpoint.model.config.model_type == "gpt2":
        gpt2(recorder, checkpoint.model.transformer)
    else:
        decoder(recorder, checkpoint.model.model)


def gpt2(recorder, text):
    recorder.embedding(text.wte, "text.embed")
    recorder.alias("text.input", "text.blocks.0.resid_pre")
    for i, block in enumerate(text.h):
        attn, mlp = block.attn, block.mlp
        split = lambda x, width=attn.head_dim: [part.unflatten(-1, (-1, width)) for part in x.chunk(3, -1)]
        heads = Heads(attn, attn.c_attn, attn.c_proj, attn.head_dim, split=split)
        recorder.pre_norm(f"text.blocks.{i}", block, heads, Mlp(mlp.c_fc, mlp.c_proj, mlp.act), block.ln_2, attn, mlp)
    recorder.after(text.ln_f, "text.final_norm")


def decoder(recorder, text):
    """LLaMA and whoever has its module names, with norms on queries and keys or without."""
    recorder.embedding(text.embed_tokens, "text.embed")
    recorder.alias("text.input", "text.blocks.0.resid_pre")
    for i, block in enumerate(text.layers):
        attn, mlp = block.self_attn, block.mlp
        heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.o_proj, attn.head_dim, turned=True)
        parts = Mlp(mlp.up_proj, mlp.down_proj, mlp.act_fn, mlp.gate_proj)
        around = getattr(block, "pre_feedforward_layernorm", None)
        if around is None:
            recorder.pre_norm(f"text.blocks.{i}", block, heads, parts, block.post_attention_layernorm, attn, mlp)
        else:
            after = (block.post_attention_layernorm, block.post_feedforward_layernorm)
            recorder.pre_norm(f"text.blocks.{i}", block, heads, parts, around, *after)
    recorder.after(text.norm, "text.final_norm")


def verify(checkpoint, batch, sites, recorder):
    decoder_agrees(checkpoint.model, batch, sites)
    embed = checkpoint.model.get_input_embeddings()
    close("text.embed", sites["text.embed"], embed(batch.input_ids))
    if checkpoint.model.config.model_type == "gpt2":
        positions = checkpoint.model.transformer.wpe(batch.position_ids)
        close("text.input", sites["text.input"], sites["text.embed"] + positions)
    else:
        close("text.input", sites["text.input"], sites["text.embed"])
    equations.blocks(recorder, sites)


def decoder_agrees(model, batch, sites):
    """Logits, hidden states and attentions of a language model of transformers, at real tokens."""
    real = batch.attention_mask.bool()
    own = model(**batch.passing(), output_hidden_states=True, output_attentions=True)
    close("logits", sites["logits"][real], own.logits[real])
    layers = len(own.attentions)
    assert len(own.hidden_states) == layers + 1 and f"text.blocks.{layers}.resid_pre" not in sites
    equations.stream("text", sites, own.hidden_states, own.attentions, real)
    close("hidden_states[-1] is final_norm", sites["text.final_norm"][real], own.hidden_states[-1][real])

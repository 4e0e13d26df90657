"""Whisper: a tower for a recording, a decoder that attends to it. A row has one recording.

`{"recordings": [R]}`: the checkpoint's own prompt, as `generate` makes it (start, language, task, no timestamps); or with `"prompt"`: that text, in which special
tokens are recognised, and to which none are added. Rows are padded on the left.
"""

import torch
from transformers import AutoProcessor, WhisperForConditionalGeneration
from transformers.generation import GenerationMixin, SuppressTokensAtBeginLogitsProcessor, SuppressTokensLogitsProcessor

import ears
import verify as equations
from passes import Batch, Checkpoint
from recorder import Heads, Mlp
from verify import close


def open(folder, backend="pil", **config):
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    processor = AutoProcessor.from_pretrained(folder)
    return Checkpoint(model, processor, folder)


def prompt_of(model, mel):
    """The tokens that `generate` begins with."""
    made = model.generate(mel, max_new_tokens=1, return_dict_in_generate=True, force_unique_generate_call=True)
    return made.sequences[0, :-1].tolist()


def prepare(checkpoint, rows):
    model, processor = checkpoint.model, checkpoint.processor
    assert all(len(row.get("recordings", ())) == 1 and not {"ask", "texts"} & set(row) for row in rows), "Whisper hears one recording, and is asked nothing"
    mels, _ = ears.mels(processor.feature_extractor, [row["recordings"][0] for row in rows])
    tokenizer = processor.tokenizer
    ids, prompts = [], []
    for row, mel in zip(rows, mels):
        own = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] if "prompt" in row else prompt_of(model, mel[None])
        ids.append(own)
        prompts.append(row.get("prompt") or tokenizer.decode(own))
    longest, pad = max(map(len, ids)), model.generation_config.pad_token_id
    mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in ids])
    ids = torch.tensor([[pad] * (longest - len(own)) + own for own in ids])
    return Batch(ids, mask, None, prompts, input_features=mels)


def arguments(batch):
    return {
        "input_features": batch.input_features,
        "decoder_input_ids": batch.input_ids,
        "decoder_attention_mask": batch.attention_mask,
        "decoder_position_ids": batch.position_ids,
        "use_cache": False,
    }


def generating(checkpoint, batch, **how):
    """What the library's own `generate` does once it has the prompt; rows one by one, since it has no positions for padded ones."""
    model, settings = checkpoint.model, checkpoint.model.generation_config
    made = []
    for ids, real, mel in zip(batch.input_ids, batch.attention_mask.bool(), batch.input_features):
        own = ids[real][None]
        scores = []
        if settings.begin_suppress_tokens is not None:
            scores.append(SuppressTokensAtBeginLogitsProcessor(settings.begin_suppress_tokens, begin_index=own.shape[1]))
        if settings.suppress_tokens is not None:
            scores.append(SuppressTokensLogitsProcessor(settings.suppress_tokens))
        off = {"suppress_tokens": None, "begin_suppress_tokens": None}
        out = GenerationMixin.generate(model, mel[None], decoder_input_ids=own, logits_processor=scores, **off, **how)
        if own.tolist() == [prompt_of(model, mel[None])]:
            # Without the flag, a timestamp among the tokens makes it go on from that instant.
            theirs = model.generate(mel[None], force_unique_generate_call=True, **how)
            assert theirs.sequences.tolist() == out.sequences.tolist(), (theirs.sequences, out.sequences)
        made.append(out)
    return ears.together(made, settings.pad_token_id)


def attach(recorder, checkpoint):
    model = checkpoint.model.model
    ears.tower(recorder, model.encoder)
    recorder.after(model.encoder.layer_norm, "audio.final_norm")
    text = model.decoder
    recorder.embedding(text.embed_tokens, "text.embed")
    recorder.alias("text.input", "text.blocks.0.resid_pre")
    for i, block in enumerate(text.layers):
        heads = lambda attn: Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.out_proj, attn.head_dim, scaled=attn.scaling)
        mlp = Mlp(block.fc1, block.fc2, block.activation_fn)
        across = {"cross": heads(block.encoder_attn), "cross_norm": block.encoder_attn_layer_norm}
        recorder.pre_norm(f"text.blocks.{i}", block, heads(block.self_attn), mlp, block.final_layer_norm, block.self_attn, block.fc2, **across)
    recorder.after(text.layer_norm, "text.final_norm")


def verify(checkpoint, batch, sites, recorder):
    model, real = checkpoint.model, batch.attention_mask.bool()
    own = model(**arguments(batch), output_hidden_states=True, output_attentions=True)
    close("logits", sites["logits"][real], own.logits[real])
    close("logits", model.proj_out(sites["text.final_norm"]), sites["logits"])
    ears.tower_agrees(model.model.encoder, batch.input_features, sites, own.encoder_hidden_states, own.encoder_attentions)
    close("audio.final_norm", sites["audio.final_norm"], own.encoder_last_hidden_state)
    equations.stream("text", sites, own.decoder_hidden_states, own.decoder_attentions, real)
    equations.stream("text", sites, own.decoder_hidden_states, own.cross_attentions, real, kind="cross")
    close("text.final_norm", sites["text.final_norm"][real], own.decoder_hidden_states[-1][real])
    decoder = model.model.decoder
    close("text.embed", sites["text.embed"], decoder.embed_tokens(batch.input_ids))
    close("text.input", sites["text.input"], sites["text.embed"] + decoder.embed_positions.weight[batch.position_ids])
    equations.blocks(recorder, sites)

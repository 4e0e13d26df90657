"""BLIP: captions, answers, matches, by `architectures`. A row shows one picture.

Captions: `{"images": [I]}` or with `"prompt"`; `input_ids` are what `generate` gives its decoder, the first token and the prompt, padded on the left.
Answers: `{"images": [I], "ask": Q}`; `input_ids` is the question, the decoder is given the first token; its sites are `text.*`, the question's
`encoder.*`. Matches: `{"images": [I], "texts": [...]}`, padded on the right; `logits` [text 1 class].
"""

import torch
import transformers
from transformers import AutoConfig, AutoProcessor

import verify as equations
from families.bert import stack
from passes import Batch, Checkpoint
from recorder import Heads, Mlp, probe
from verify import close


def open(folder, backend="pil", **config):
    name = AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, **config)
    return Checkpoint(model, AutoProcessor.from_pretrained(folder, backend=backend), folder)


def task(model):
    return type(model).__name__


def prepare(checkpoint, rows):
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    images = [row["images"][0] for row in rows]
    assert all(len(row["images"]) == 1 for row in rows), "BLIP looks at one picture"
    pixels = checkpoint.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    text = model.config.text_config
    if task(model) == "BlipForConditionalGeneration":
        prompts = [row.get("prompt", "") for row in rows]
        ids = [[text.bos_token_id] + tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        # `generate` puts the first token in the place of the processor's, and drops its last.
        for prompt, own in zip(prompts, ids):
            theirs = tokenizer(prompt)["input_ids"]
            assert [text.bos_token_id, *theirs[1:-1]] == own
        longest = max(map(len, ids))
        mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in ids])
        ids = torch.tensor([[text.pad_token_id] * (longest - len(own)) + own for own in ids])
        return Batch(ids, mask, pixels, prompts)
    [row] = rows
    texts = list(row["texts"]) if "texts" in row else [row.get("ask", row.get("prompt"))]
    made = tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")
    return Batch(made["input_ids"], made["attention_mask"], pixels, texts, counts=False)


def arguments(batch):
    given = batch.kwargs()
    if batch.counts:
        given |= {"position_ids": batch.position_ids, "use_cache": False}
    return given


def forward(model, given):
    given = dict(given)
    if task(model) == "BlipForConditionalGeneration":
        logits = model(**given).logits
        return {"logits": logits}, logits[:, -1]
    if task(model) == "BlipForQuestionAnswering":
        logits = answers(model, given)
        return {"logits": logits}, logits[:, -1]
    logits = matches(model, given)
    return {"logits": logits[:, None], "text.logits": logits[:, None]}, logits


def answers(model, given):
    """`BlipForQuestionAnswering.forward` keeps its logits to itself: what `generate` does, for the first token."""
    image = model.vision_model(pixel_values=given["pixel_values"])[0]
    question = model.text_encoder(input_ids=given["input_ids"], attention_mask=given["attention_mask"], encoder_hidden_states=image)[0]
    start = torch.full((len(question), 1), model.decoder_start_token_id)
    return model.text_decoder(input_ids=start, encoder_hidden_states=question, use_cache=False).logits


def matches(model, given):
    """`BlipForImageTextRetrieval.forward` with one picture for all texts."""
    image = model.vision_model(pixel_values=given["pixel_values"])[0].expand(len(given["input_ids"]), -1, -1)
    texts = model.text_encoder(input_ids=given["input_ids"], attention_mask=given["attention_mask"], encoder_hidden_states=image)[0]
    return model.itm_head(texts[:, 0, :])


def generating(checkpoint, batch, **how):
    """The library's own `generate`, as a caption or an answer is written with it."""
    model, text = checkpoint.model, checkpoint.model.config.text_config
    given = batch.kwargs()
    if task(model) == "BlipForConditionalGeneration":
        end = torch.full((len(batch.input_ids), 1), text.sep_token_id)
        given["input_ids"] = torch.cat([batch.input_ids, end], 1)
        given["attention_mask"] = torch.cat([batch.attention_mask, torch.ones_like(end)], 1)
    return model.generate(**given, **how)


def attach(recorder, checkpoint):
    model, recorder.interface = checkpoint.model, False
    vision = model.vision_model
    recorder.after(vision.embeddings, "vision.embed")
    recorder.derive("vision.embed", lambda sites: embed(vision.embeddings, sites["vision.pixels"]))
    recorder.after(vision.embeddings, "vision.input")
    for i, block in enumerate(vision.encoder.layers):
        attn = block.self_attn
        split = lambda x, width=attn.head_dim: [part.unflatten(-1, (-1, width)) for part in x.chunk(3, -1)]
        heads = Heads(attn, attn.qkv, attn.projection, attn.head_dim, split=split)
        recorder.swap(attn, see)
        mlp = Mlp(block.mlp.fc1, block.mlp.fc2, block.mlp.activation_fn)
        recorder.pre_norm(f"vision.blocks.{i}", block, heads, mlp, block.layer_norm2, attn, block.mlp)
    # The norm is called for the class token again, which nobody reads.
    kept = []

    def first(module, args, output):
        if not kept:
            kept.append(recorder.keep("vision.final_norm", output))

    recorder.handles.append(vision.post_layernorm.register_forward_hook(first))
    for part, body in parts(model):
        recorder.embedding(body.embeddings.word_embeddings, f"{part}.embed")
        recorder.after(body.embeddings, f"{part}.input")
        for block in body.encoder.layer:
            recorder.swap(block.attention.self, attend)
            recorder.swap(block.crossattention.self, attend)
        stack(recorder, part, body.encoder.layer)
    if hasattr(model, "itm_head"):
        recorder.before(model.itm_head, "text.pooled")


def parts(model):
    if task(model) == "BlipForImageTextRetrieval":
        return [("text", model.text_encoder)]
    encoder = [("encoder", model.text_encoder)] if hasattr(model, "text_encoder") else []
    return [*encoder, ("text", model.text_decoder.bert)]


def see(self, hidden_states, **kwargs):
    heads = lambda x: x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
    q, k, v = map(heads, self.qkv(hidden_states).chunk(3, -1))
    z, pattern = probe(self, q, k, v, None, self.scale)
    return self.projection(z.flatten(2)), pattern


def attend(self, hidden_states, attention_mask=None, encoder_hidden_states=None, encoder_attention_mask=None, past_key_values=None, **kwargs):
    crosses = encoder_hidden_states is not None
    seen, mask = (encoder_hidden_states, encoder_attention_mask) if crosses else (hidden_states, attention_mask)
    heads = lambda x: x.unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)
    z, pattern = probe(self, heads(self.query(hidden_states)), heads(self.key(seen)), heads(self.value(seen)), mask)
    return z.flatten(2), pattern


def embed(embeddings, pixels):
    """The class token and the patches, before positions are added."""
    patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    return torch.cat([embeddings.class_embedding.expand(len(pixels), -1, -1), patches], 1)


def agree(*given, **named):
    """The library divides scores by a root where the probe multiplies by its reciprocal."""
    equations.stream(*given, **named, bound=4e-6)


def verify(checkpoint, batch, sites, recorder):
    model = checkpoint.model
    real = batch.attention_mask.bool()
    vision = model.vision_model(pixel_values=batch.pixel_values, output_hidden_states=True, output_attentions=True)
    agree("vision", sites, vision.hidden_states, vision.attentions)
    close("vision.final_norm", sites["vision.final_norm"][: len(batch.pixel_values)], vision.last_hidden_state)
    close("vision.input", sites["vision.input"], sites["vision.embed"] + model.vision_model.embeddings.position_embedding)
    image = vision.last_hidden_state.expand(len(batch.input_ids), -1, -1)
    more = {"output_hidden_states": True, "output_attentions": True}
    plain = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "encoder_hidden_states": image}
    if task(model) == "BlipForConditionalGeneration":
        own = model.text_decoder(**plain, position_ids=batch.position_ids, use_cache=False, **more)
        close("logits", sites["logits"][real], own.logits[real])
    elif task(model) == "BlipForQuestionAnswering":
        question = model.text_encoder(**plain, **more)
        agree("encoder", sites, question.hidden_states, question.attentions, real)
        agree("encoder", sites, question.hidden_states, question.cross_attentions, real, kind="cross")
        start = torch.full((len(image), 1), model.config.text_config.bos_token_id)
        own = model.text_decoder(input_ids=start, encoder_hidden_states=question.last_hidden_state, use_cache=False, **more)
        close("logits", sites["logits"], own.logits)
        real = torch.ones_like(start, dtype=torch.bool)
    else:
        own = model.text_encoder(**plain, **more)
        close("text.pooled", sites["text.pooled"], own.last_hidden_state[:, 0])
        close("logits", sites["logits"][:, 0], model.itm_head(sites["text.pooled"]))
        pixels = batch.pixel_values.expand(len(batch.input_ids), -1, -1, -1)
        score = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, pixel_values=pixels).itm_score
        close("itm_score", sites["logits"][:, 0], score, 4e-6)
    agree("text", sites, own.hidden_states, own.attentions, real)
    agree("text", sites, own.hidden_states, own.cross_attentions, real, kind="cross")
    equations.blocks(recorder, sites)

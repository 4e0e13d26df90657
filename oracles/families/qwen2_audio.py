"""Qwen2-Audio: Whisper's tower, pooled by two before its last norm, a projector, Qwen2.

`{"recordings": [R, ...], "ask": Q}` or with `"prompt"`, in which every recording has its placeholder. Rows are padded on the left.
"""

import torch
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration
from transformers.masking_utils import create_bidirectional_mask

import ears
import prompts
import verify as equations
from families.text import decoder
from passes import Batch, Checkpoint
from verify import close


def open(folder, backend="pil", **config):
    model = Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **config)
    return Checkpoint(model, AutoProcessor.from_pretrained(folder), folder)


def prepare(checkpoint, rows):
    processor = checkpoint.processor
    texts, special = prompts.texts(processor, rows)
    recordings = [one for row in rows for one in row.get("recordings", ())]
    more, expanded = {}, list(texts)
    if recordings:
        mels, mask = ears.mels(processor.feature_extractor, recordings)
        # The processor's own way from recordings to text, with the spectrograms of this side.
        own, texts_for = processor._process_audio([samples for samples, _ in recordings], sampling_rate=recordings[0][1], return_tensors="pt")
        assert own["feature_attention_mask"].equal(mask)
        left = iter(texts_for)
        for i, row in enumerate(rows):
            parts = texts[i].split(processor.audio_token)
            assert len(parts) == len(row.get("recordings", ())) + 1, "as many placeholders as recordings"
            expanded[i] = parts[0] + "".join(next(left) + part for part in parts[1:])
        more = {"feature_attention_mask": mask}
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    made = tokenizer(expanded, add_special_tokens=special, padding=len(rows) > 1, return_tensors="pt")
    if recordings:
        whole = processor(
            text=list(texts),
            audio=[samples for samples, _ in recordings],
            sampling_rate=recordings[0][1],
            padding=True,
            return_tensors="pt",
            add_special_tokens=special,
        )
        assert whole["input_ids"].equal(made["input_ids"]), "the processor gives other tokens"
        assert (whole["input_features"] - mels).abs().max() < 1e-3
    return Batch(made["input_ids"], made["attention_mask"], None, texts, more, input_features=mels if recordings else None)


def used(model, mask):
    """Of every clip, how many positions behind the convolutions are of the sound, and how many behind pooling."""
    return model.model.audio_tower._get_feat_extract_output_lengths(mask.sum(-1))


def attach(recorder, checkpoint):
    model = checkpoint.model.model
    encoder = model.audio_tower
    ears.tower(recorder, encoder)
    recorder.after(encoder.layer_norm, "audio.final_norm")
    recorder.after(model.multi_modal_projector, "connector.out")
    decoder(recorder, model.language_model)


def verify(checkpoint, batch, sites, recorder):
    model, real = checkpoint.model, batch.attention_mask.bool()
    own = model(**batch.passing(), output_hidden_states=True, output_attentions=True)
    close("logits", sites["logits"][real], own.logits[real])
    equations.stream("text", sites, own.hidden_states, own.attentions, real)
    close("text.final_norm", sites["text.final_norm"][real], own.hidden_states[-1][real])
    close("text.embed", sites["text.embed"], model.model.language_model.embed_tokens(batch.input_ids))
    holes = batch.input_ids == model.config.audio_token_id
    close("text positions", sites["text.input"][~holes], sites["text.embed"][~holes])
    if batch.input_features is not None:
        encoder, mask = model.model.audio_tower, batch.more["feature_attention_mask"]
        inside, behind = used(model, mask)
        positions = encoder.config.max_source_positions
        seen = (torch.arange(positions)[None] < inside[:, None]).long()
        hidden = create_bidirectional_mask(config=encoder.config, inputs_embeds=torch.zeros(len(seen), positions, 1), attention_mask=seen)
        heard = encoder(batch.input_features, attention_mask=hidden, output_hidden_states=True, output_attentions=True)
        ears.tower_agrees(encoder, batch.input_features, sites, heard.hidden_states, heard.attentions)
        last = sites[f"audio.blocks.{len(encoder.layers) - 1}.resid_post"]
        whole = last[:, : positions // 2 * 2]
        pooled = (whole[:, ::2] + whole[:, 1::2]) / 2
        close("audio.final_norm", sites["audio.final_norm"], encoder.layer_norm(pooled))
        close("audio.final_norm", sites["audio.final_norm"], heard.last_hidden_state)
        close("connector.out", sites["connector.out"], model.model.multi_modal_projector(sites["audio.final_norm"]))
        kept = torch.cat([x[:n] for x, n in zip(sites["connector.out"], behind)])
        close("audio positions", sites["text.input"][holes], kept)
        # A key behind the sound is seen by no query.
        for i in range(len(encoder.layers)):
            pattern = sites[f"audio.blocks.{i}.attn.pattern"]
            assert all((one[..., n:] == 0).all() for one, n in zip(pattern, inside))
    equations.blocks(recorder, sites)

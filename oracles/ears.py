"""What families with ears share: log-mel spectrograms and the tower of Whisper."""

from types import SimpleNamespace

import torch
from transformers.models.whisper import feature_extraction_whisper as extraction

import verify as equations
from recorder import Heads, Mlp
from verify import close


def mels(extractor, recordings):
    """Log-mel spectrograms [clip mel frame], padded, and which frames are of the sound. In numpy and in double precision, as mmlens: in torch, quiet values beside
    pure tones are rounding. `recordings` are samples and how many a second has."""
    for samples, rate in recordings:
        assert rate == extractor.sampling_rate, f"a recording has {rate} samples a second, the extractor takes {extractor.sampling_rate}"
        if len(samples) > extractor.n_samples:
            raise SystemExit(f"a recording is {len(samples) / rate:.2f} s long, of at most {extractor.chunk_length}")
    had, extraction.is_torch_available = extraction.is_torch_available, lambda: False
    try:
        made = [extractor(samples, sampling_rate=rate, return_attention_mask=True, return_tensors="np") for samples, rate in recordings]
    finally:
        extraction.is_torch_available = had
    values = torch.stack([torch.from_numpy(one["input_features"][0]).float() for one in made])
    return values, torch.stack([torch.from_numpy(one["attention_mask"][0]).long() for one in made])


def tower(recorder, encoder):
    """Up to the output of its last block."""
    # The second convolution's output, behind its nonlinearity, is what positions are added to; the blocks' input is their sum.
    recorder.before(encoder.layers[0], "audio.embed")
    recorder.derive("audio.embed", lambda sites: embedded(encoder, sites["audio.mel"]))
    recorder.alias("audio.input", "audio.blocks.0.resid_pre")
    for i, block in enumerate(encoder.layers):
        attn = block.self_attn
        heads = Heads(attn, (attn.q_proj, attn.k_proj, attn.v_proj), attn.out_proj, attn.head_dim, scaled=attn.scaling)
        mlp = Mlp(block.fc1, block.fc2, block.activation_fn)
        recorder.pre_norm(f"audio.blocks.{i}", block, heads, mlp, block.final_layer_norm, attn, block.fc2)


def embedded(encoder, mel):
    """What the convolutions make of a spectrogram, before positions are added: [clip pos d]."""
    gelu = torch.nn.functional.gelu
    return gelu(encoder.conv2(gelu(encoder.conv1(mel)))).transpose(1, 2)


def tower_agrees(encoder, mel, sites, hidden_states, attentions):
    equations.stream("audio", sites, hidden_states, attentions)
    # Both convolutions as products of windows.
    def convolved(x, conv):
        width, stride = conv.kernel_size[0], conv.stride[0]
        windows = torch.nn.functional.pad(x, (1, 1)).unfold(2, width, stride)
        return torch.einsum("bcpw,dcw->bdp", windows, conv.weight) + conv.bias[:, None]

    gelu = torch.nn.functional.gelu
    embed = gelu(convolved(gelu(convolved(mel, encoder.conv1)), encoder.conv2)).transpose(1, 2)
    close("audio.embed", sites["audio.embed"], embed, 2e-6)
    close("audio.input", sites["audio.input"], embed + encoder.embed_positions.weight, 2e-6)


def together(made, pad):
    """Rows that were generated one by one, as `generate` gives them together."""
    steps = max(len(one.logits) for one in made)
    fill = lambda x: torch.cat([x, torch.full((1, steps - x.shape[1]), pad)], 1)
    rows = [fill(one.sequences[:, one.sequences.shape[1] - len(one.logits) :]) for one in made]
    places = [[one[step if step < len(one) else -1] for one in (each.logits for each in made)] for step in range(steps)]
    return SimpleNamespace(sequences=torch.cat(rows), logits=tuple(torch.cat(place) for place in places))

"""Recordings in every format that is read, and what libsndfile, soxr and transformers make of them: `fixtures/sound`.

The files themselves; `decoded.safetensors`: their samples by soundfile (libsndfile), channels mixed by their mean; `resampled.safetensors`: sums of sines by
soxr (HQ, what librosa.load uses) at another rate; `mel.safetensors`: log-mel spectrograms by WhisperFeatureExtractor, in numpy and in torch, with its masks and
filters. Sines are stored as [hertz, amplitude, phase], so that whoever reads them makes the sound again.
"""

import io
import struct

import common
import numpy as np
import soundfile
import soxr
import transformers
from transformers.models.whisper import feature_extraction_whisper as whisper

FOLDER = common.FIXTURES / "sound"
# Which frames are kept of a spectrogram of 30 s, most of which is silence.
KEPT = 10


def sines(seed, highest, count=6):
    rng = common.rng(seed, "sines")
    return np.stack([rng.uniform(60.0, highest, count), rng.uniform(0.05, 0.15, count), rng.uniform(0, 2 * np.pi, count)], 1)


def played(parts, rate, samples):
    at = np.arange(samples) / rate
    return sum(amplitude * np.sin(2 * np.pi * hertz * at + phase) for hertz, amplitude, phase in parts)


def sound(seed, rate, samples, channels=1):
    """Tones, a chirp and noise, other ones in every channel."""
    at = np.arange(samples) / rate
    each = []
    for channel in range(channels):
        rng = common.rng(seed, f"channel {channel}")
        chirp = 0.2 * np.sin(2 * np.pi * (200.0 * at + 0.4 * rate / (2 * at[-1]) * at**2 * 0.5))
        each.append(played(sines(seed + channel, 0.3 * rate), rate, samples) + chirp + 0.02 * rng.standard_normal(samples))
    return np.clip(np.stack(each, 1), -0.95, 0.95)


def checksum(page):
    """Of a page of Ogg: CRC-32 of the polynomial 04c11db7, bits in their order, from zero."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def settled(data):
    """The same bytes at every run: a stream of Ogg gets a number by chance, and a WAV of floats the time of day."""
    data = bytearray(data)
    if data[:4] == b"OggS":
        at = 0
        while at < len(data):
            table = data[at + 27 : at + 27 + data[at + 26]]
            end = at + 27 + len(table) + sum(table)
            data[at + 14 : at + 18] = struct.pack("<I", 7)
            data[at + 22 : at + 26] = bytes(4)
            data[at + 22 : at + 26] = struct.pack("<I", checksum(data[at:end]))
            at = end
    peak = data.find(b"PEAK")
    if data[:4] == b"RIFF" and peak > 0:
        data[peak + 12 : peak + 16] = bytes(4)
    return bytes(data)


def files():
    """Name, samples, rate, format and kind of samples."""
    yield from ((f"{kind.lower()}.wav", sound(1, 8000, 200), 8000, "WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"))
    yield "stereo.wav", sound(2, 44100, 400, 2), 44100, "WAV", "PCM_16"
    yield "three.wav", sound(3, 8000, 200, 3), 8000, "WAVEX", "PCM_24"
    yield "mono.flac", sound(4, 16000, 800), 16000, "FLAC", "PCM_16"
    yield "stereo.flac", sound(5, 44100, 700, 2), 44100, "FLAC", "PCM_24"
    yield "mono.mp3", sound(6, 16000, 1600), 16000, "MP3", "MPEG_LAYER_III"
    yield "stereo.mp3", sound(7, 44100, 1500, 2), 44100, "MP3", "MPEG_LAYER_III"
    yield "mono.ogg", sound(8, 16000, 1900), 16000, "OGG", "VORBIS"
    yield "stereo.ogg", sound(9, 44100, 1600, 2), 44100, "OGG", "VORBIS"
    yield "opus.ogg", sound(10, 16000, 320), 16000, "OGG", "OPUS"


def frame(data, at):
    """How many bytes a frame of MPEG 2, layer III, has."""
    kilobits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160][data[at + 2] >> 4]
    rate = [22050, 24000, 16000][(data[at + 2] >> 2) & 3]
    return 72 * kilobits * 1000 // rate + ((data[at + 2] >> 1) & 1)


def decoded():
    out = {}
    for name, samples, rate, kind, subtype in files():
        made = io.BytesIO()
        soundfile.write(made, samples, rate, format=kind, subtype=subtype)
        write(name, settled(made.getvalue()), out)
    # The same frames without the first, which is no sound but says how many there are, and what to leave out.
    tagged = (FOLDER / "mono.mp3").read_bytes()
    write("untagged.mp3", tagged[frame(tagged, 0) :], out)
    common.save(FOLDER / "decoded.safetensors", out)


def write(name, data, out):
    (FOLDER / name).write_bytes(data)
    if "opus" in name:
        return
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    out[name] = samples.mean(1)
    out[f"{name} rate"] = np.array([rate])


PAIRS = [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 22050), (16000, 11025)]


def resampled():
    out = {}
    for at, (rate, to) in enumerate(PAIRS):
        parts = sines(20 + at, 0.45 * min(rate, to))
        samples = played(parts, rate, rate * 2 // 25).astype(np.float32)
        out[f"{rate} {to} sines"] = parts
        out[f"{rate} {to}"] = soxr.resample(samples, rate, to, quality="HQ")
    common.save(FOLDER / "resampled.safetensors", out)


CONFIGS = {
    "whisper": {},
    "qwen2": {"feature_size": 128, "return_attention_mask": True},
    "other": {"feature_size": 40, "sampling_rate": 8000, "hop_length": 150, "n_fft": 512, "chunk_length": 1, "padding_value": 0.01},
}


def spectrograms():
    out, speech = {}, soundfile.read(FOLDER / "mono.ogg", dtype="float32")[0]
    pure = played(sines(30, 3000.0, 3), 16000, 2000).astype(np.float32)
    for name, settings in CONFIGS.items():
        extractor = transformers.WhisperFeatureExtractor(**settings)
        extractor.save_pretrained(FOLDER / name)
        rate = extractor.sampling_rate
        for what, samples in (("noisy", speech), ("pure", pure)) if name == "whisper" else (("noisy", speech),):
            ours = {}
            for path, torch in (("numpy", False), ("torch", True)):
                whisper.is_torch_available = lambda torch=torch: torch
                found = extractor(samples, sampling_rate=rate, return_attention_mask=True, return_tensors="np")
                ours[path] = found["input_features"][0]
                mask = found["attention_mask"][0]
                assert (mask == (np.arange(len(mask)) < mask.sum())).all()
                out[f"{name} {what} mask"] = np.array([mask.sum(), len(mask)])
            out[f"{name} {what} numpy"] = ours["numpy"][:, :KEPT]
            out[f"{name} {what} end"] = ours["numpy"][:, -1]
            if name == "whisper":
                out[f"{name} {what} torch"] = ours["torch"][:, :KEPT]
            print(f"{name} {what}: torch and numpy differ by {np.abs(ours['numpy'] - ours['torch']).max():.1e}, mean {np.abs(ours['numpy'] - ours['torch']).mean():.1e}")
        if name == "other":
            # A sound as long as the padding, so that the mirror image behind its end is one of the sound.
            whisper.is_torch_available = lambda: False
            full = played(sines(30, 3000.0, 3), 16000, extractor.n_samples).astype(np.float32)
            out["other full end"] = extractor(full, sampling_rate=rate, return_tensors="np")["input_features"][0][:, -4:]
        bank = extractor.mel_filters
        bins, mels = np.nonzero(bank)
        out |= {f"{name} filters bins": bins.astype(np.int32), f"{name} filters mels": mels.astype(np.int32), f"{name} filters": bank[bins, mels]}
    out["pure sines"] = sines(30, 3000.0, 3)
    common.save(FOLDER / "mel.safetensors", out)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    decoded()
    resampled()
    spectrograms()
    common.why(
        FOLDER,
        "sound.py",
        "Recordings, their samples by libsndfile, sines resampled by soxr, log-mel spectrograms and filters by transformers.",
        {"lossless": 0.0, "lossy": 1e-6, "resampled": 2e-5, "numpy": 1e-5, "torch": 1e-5, "torch, pure tones": 2e-4, "filters": 1e-14},
        "All absolute, full scale is 1. Decoders of MP3 and Vorbis are in single precision on both sides, and sum in other orders: up to 7e-7 on recordings of twenty "
        "seconds. Sines below 0.45 of the lower rate pass both resamplers unchanged; 25 ms at both ends are left out, where they see other stretches of the silence "
        "outside. Spectrograms in numpy are in double precision, as ours; torch is in single precision, in which the quietest values beside pure tones are rounding: the "
        "two paths of transformers differ as much from each other. Filters are in double precision on both sides.",
        beside={"soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__, "soxr": soxr.__version__},
    )

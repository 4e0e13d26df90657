"""Plays the recordings that fixtures of models with ears use, from a seed, into `fixtures/recordings`: 16000 samples a second, in bytes."""

import numpy as np
import soundfile

from common import FIXTURES, rng

FOLDER = FIXTURES / "recordings"
RATE = 16000
# In samples. `odd` ends within a frame, `full` is the longest that `whisper-a` takes.
LENGTHS = {"blip": 2500, "chirp": 6400, "odd": 10863, "full": 16000, "long": 28800}


def played(name, samples):
    """Two tones, a chirp that begins later, and noise, so that no filter is silent."""
    r, at = rng(3, name), np.arange(samples) / RATE
    values = sum(r.uniform(0.1, 0.3) * np.sin(2 * np.pi * (r.uniform(150, 6000) * at + r.uniform())) for _ in range(2))
    later = (at > at[-1] * r.uniform(0.2, 0.6)) * np.sin(2 * np.pi * (r.uniform(200, 900) * at + r.uniform(300, 900) * at**2))
    return np.clip(values + 0.3 * later + 0.03 * r.standard_normal(samples), -0.95, 0.95)


def write():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, samples in LENGTHS.items():
        soundfile.write(FOLDER / f"{name}.wav", played(name, samples), RATE, subtype="PCM_U8")


def load(path):
    """Samples of one channel, and how many a second has."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(1), rate


if __name__ == "__main__":
    write()
    for f in sorted(FOLDER.iterdir()):
        print(f.name, f.stat().st_size)

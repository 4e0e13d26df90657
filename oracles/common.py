"""What the oracle scripts share: seeds, files, the record of how a fixture was made."""

import datetime
import json
import os
import zlib
from importlib.metadata import version
from pathlib import Path

# Reference values, not speed: one thread gives one order of summation.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

torch.set_num_threads(1)

FIXTURES = Path(__file__).resolve().parent / "fixtures"
LIBRARIES = ("torch", "torchvision", "transformers", "tokenizers", "captum", "numpy", "pillow", "safetensors", "jinja2")


def rng(seed, name):
    """A generator of its own for every named thing, so that adding one thing changes no other."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def normal(seed, name, shape, mean=0.0, std=1.0):
    values = rng(seed, name).standard_normal(tuple(shape))
    return torch.from_numpy((mean + std * values).astype(np.float32))


def save(path, tensors, about=None):
    """Writes a safetensors file. All metadata sits under the one key `about`, as JSON: a single key keeps the bytes stable."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.as_tensor(x).detach().cpu().contiguous().clone() for name, x in sorted(tensors.items())}
    meta = None if about is None else {"about": json.dumps(about, ensure_ascii=False, sort_keys=True)}
    save_file(tensors, path, metadata=meta)
    return path


def load(path):
    with safe_open(path, framework="pt") as f:
        about = json.loads((f.metadata() or {}).get("about", "{}"))
        return {name: f.get_tensor(name) for name in f.keys()}, about


def write_json(path, value):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return path


def why(folder, script, what, tolerance, reason, **extra):
    """`why.json`: which libraries made the numbers of a folder, when, how closely they must be met, and why that closely."""
    return write_json(
        Path(folder) / "why.json",
        {
            "what": what,
            "made_by": f"oracles/{script}",
            "libraries": {name: version(name) for name in LIBRARIES},
            "date": datetime.date.today().isoformat(),
            "tolerance": tolerance,
            "reason": reason,
            **extra,
        },
    )


LEAST = 1e-4


def beside(a, b, axes):
    """Largest difference over the largest absolute value of `b` in the same row, which spans the last `axes` axes; a row counts as if that were no
    less than `LEAST` of the largest of all. NaN if either holds one."""
    assert a.shape == b.shape, (a.shape, b.shape)
    if not a.numel():
        return 0.0
    a, b = a.double(), b.double()
    rows = lambda x: x.reshape(*x.shape[: max(x.ndim - axes, 0)], -1).abs().amax(-1)
    worst, scale = rows(a - b), rows(b)
    scale = torch.maximum(scale, LEAST * scale.max())
    ratio = torch.where(worst == 0, torch.zeros_like(worst), worst / scale)
    return ratio.max().item()


def difference(a, b):
    """Largest absolute difference, and that over the largest absolute value of `b` (the reference)."""
    assert a.shape == b.shape, (a.shape, b.shape)
    a, b = a.double(), b.double()
    worst = (a - b).abs().max().item() if a.numel() else 0.0
    scale = b.abs().max().item() if b.numel() else 0.0
    return worst, worst / scale if scale > 0 else worst

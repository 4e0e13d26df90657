"""Writes the weights of an older checkpoint (`pytorch_model.bin`, or its shards) as safetensors, which mmlens reads.

    python oracles/to_safetensors.py MODEL_DIR

Writes `MODEL_DIR/model.safetensors`; nothing else is touched. Tensors keep their names, types and bits; of tensors that share their storage each gets its own.
The file is loaded without running any code that may be in it (`weights_only`).
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file


def files(folder):
    """The files that hold the weights."""
    index = folder / "pytorch_model.bin.index.json"
    if index.exists():
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    single = folder / "pytorch_model.bin"
    if not single.exists():
        raise SystemExit(f"{folder}: neither pytorch_model.bin nor pytorch_model.bin.index.json is there")
    return [single]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    folder = parser.parse_args().model
    out = folder / "model.safetensors"
    if out.exists():
        raise SystemExit(f"{out} is there already")
    tensors = {}
    for file in files(folder):
        held = torch.load(file, map_location="cpu", weights_only=True)
        for name, x in held.items():
            if not isinstance(x, torch.Tensor):
                raise SystemExit(f"{file}: `{name}` is no tensor but {type(x).__name__}")
            if name in tensors:
                raise SystemExit(f"{file}: `{name}` is in another file too")
            tensors[name] = x.detach().clone().contiguous()
    part = out.with_suffix(".part")
    save_file(tensors, part, metadata={"format": "pt"})
    os.replace(part, out)
    print(f"{out}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()

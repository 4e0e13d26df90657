"""Turns the numbers of a tuned lens from the published `params.pt` into `params.safetensors`, which mmlens reads, or back.

    python oracles/tuned_lens_params.py FOLDER            params.pt to params.safetensors
    python oracles/tuned_lens_params.py FOLDER --back     params.safetensors to params.pt

`params.pt` is a pickle: it is loaded without running any code that may be in it (`weights_only`). Names are `0.weight`, `0.bias` and so on, one pair for each layer,
and both files mean `h + weight h + bias`: the residual form of the published program. Matrices written as in the paper, `A h + b`, are `weight = A - I`.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--back", action="store_true")
    args = parser.parse_args()
    pickled, plain = args.folder / "params.pt", args.folder / "params.safetensors"
    if args.back:
        torch.save({name: x.float() for name, x in load_file(plain).items()}, pickled)
        print(pickled)
        return
    tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    unknown = [name for name in tensors if name.split(".")[-1] not in ("weight", "bias") or not name.split(".")[0].isdigit()]
    if unknown:
        raise SystemExit(f"{pickled}: `{unknown[0]}` is no translator, expected names such as `0.weight`")
    save_file({name: x.double().contiguous() for name, x in tensors.items()}, plain)
    print(plain)


if __name__ == "__main__":
    main()

"""Runs a checkpoint in transformers and writes every site under mmlens's names, as `mmlens trace` does.

    python oracles/trace.py MODEL_DIR [--image I ...] [--video V ... --fps F] [--audio A ...] [--ask Q | --prompt RAW | --text T ...] [--read SELECTOR ...]
                            [--generate N] [--grad SITE ...] [--target argmax|ID] [--double] --out F.safetensors

A video is a folder of pictures in the order of their names, or their paths with commas between. The sites are defined in README.md. Everything
is float32 with explicit ("eager") attention. Before the file is written the script compares what it recorded with the library's own
hidden states and attentions, and checks every identity between sites.
"""

import argparse
from pathlib import Path

import common
from PIL import Image

import recordings
from double import rounding
from families import of, open_checkpoint
from passes import Batch, Checkpoint, generate, run, select, tensors


def prepare(checkpoint, rows):
    """`rows`: one `{"images": [...], "ask": Q}` or `{"images": [...], "prompt": RAW}` each; several rows are padded on the left. Dual
    encoders: one row `{"images": [...], "texts": [...]}`."""
    return checkpoint.family.prepare(checkpoint, rows)


def paths(video):
    where = Path(video)
    found = sorted(where.iterdir()) if where.is_dir() else map(Path, video.split(","))
    return [path.resolve() for path in found]


def frames(video):
    return [Image.open(path) for path in paths(video)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--image", action="append", default=[])
    parser.add_argument("--video", action="append", default=[])
    parser.add_argument("--fps", type=float, help="frames of a video in a second")
    parser.add_argument("--audio", action="append", default=[], help="a recording that soundfile reads, at the rate of the checkpoint's extractor")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ask")
    what.add_argument("--prompt")
    what.add_argument("--text", action="append", help="a text of its own, for models that compare texts with pictures")
    parser.add_argument("--read", action="append", help="sites to write; all of them when left out")
    parser.add_argument("--generate", type=int, default=0)
    parser.add_argument("--grad", action="append", default=[])
    parser.add_argument("--target", default="argmax")
    parser.add_argument(
        "--double",
        action="store_true",
        help="run the pass once more in float64, which takes twice the memory, and write how far float32 itself is off: `mmlens certify` then lets every "
        "value differ by four times that, where it is more than the usual bound",
    )
    parser.add_argument("--backend", default="pil", choices=("pil", "torchvision"))
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    checkpoint = open_checkpoint(args.model, args.backend)
    row = {"images": [Image.open(path) for path in args.image]}
    row |= {"videos": [frames(video) for video in args.video]} if args.video else {}
    row |= {"fps": args.fps} if args.fps else {}
    row |= {"recordings": [recordings.load(path) for path in args.audio]} if args.audio else {}
    row |= {key: x for key, x in {"ask": args.ask, "prompt": args.prompt, "texts": args.text}.items() if x is not None}
    batch = prepare(checkpoint, [row])
    make = getattr(checkpoint.family, "tensors", tensors)
    out = make(checkpoint, batch, args.read, args.generate, args.grad, args.target)
    named = row | {"images": [str(Path(path).resolve()) for path in args.image]}
    named |= {"videos": [[str(path) for path in paths(video)] for video in args.video]} if args.video else {}
    named |= {"recordings": [str(Path(path).resolve()) for path in args.audio]} if args.audio else {}
    about = {"rows": [named], "prompts": batch.prompts, "generate": args.generate}
    if args.double:
        about["rounding"] = rounding(checkpoint, batch, args.grad, int(out["target"][0]))
    common.save(args.out, out, about)
    for name, x in sorted(out.items()):
        print(f"{name:40} {str(list(x.shape)):22} {str(x.dtype).removeprefix('torch.')}")


__all__ = ["Batch", "Checkpoint", "generate", "of", "open_checkpoint", "prepare", "run", "select", "tensors"]


if __name__ == "__main__":
    main()

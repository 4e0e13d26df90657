"""Loads a LLaVA-layout folder written by mmlens in transformers and compares its logits with a trace that mmlens made of it.

    python oracles/load_shapes.py DIR TRACE.safetensors [--image I ... (--ask Q | --prompt RAW)] [--bound 1e-4]

The model is given the trace's own `input_ids` and `pixel_values`. With a picture and words the processor's are compared with those
first. Exits with 1 where anything differs by more than the bound (largest difference over largest value), or is left unloaded.
"""

import argparse
import sys

from common import difference, load

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

import compare
import trace


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("trace")
    parser.add_argument("--image", action="append", default=[])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ask")
    what.add_argument("--prompt")
    parser.add_argument("--bound", type=float, default=1e-4)
    args = parser.parse_args()
    faults = []

    def report(name, error, bound):
        print(f"{name:20} {error:10.2e}  {'ok' if error <= bound else 'FAIL'} ({bound:g})")
        if not error <= bound:
            faults.append(name)

    model, found = LlavaForConditionalGeneration.from_pretrained(
        args.folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found.get(kind):
            print(f"{kind}: {sorted(map(str, found[kind]))}")
            faults.append(kind)
    model.eval().requires_grad_(False)
    checkpoint = trace.Checkpoint(model, AutoProcessor.from_pretrained(args.folder, backend="pil"), args.folder, trace.of(args.folder))
    ours, _ = load(args.trace)
    ids, pixels = ours["input_ids"].long(), ours.get("pixel_values")
    ids = ids.reshape(-1, ids.shape[-1])
    mask = ours["attention_mask"].long() if "attention_mask" in ours else torch.ones_like(ids)

    if args.ask is not None or args.prompt is not None:
        row = {"images": [Image.open(path) for path in args.image]}
        row |= {"ask": args.ask} if args.ask is not None else {"prompt": args.prompt}
        made = trace.prepare(checkpoint, [row])
        same = made.input_ids.shape == ids.shape and torch.equal(made.input_ids, ids)
        report("input_ids", 0.0 if same else 1.0, 0.0)
        if not same:
            print(f"  transformers {made.input_ids.tolist()}\n  mmlens       {ids.tolist()}")
        if pixels is not None:
            same_shape = made.pixel_values.shape == pixels.shape
            report("pixel_values", difference(pixels, made.pixel_values)[1] if same_shape else float("nan"), 1e-6)

    batch = trace.Batch(ids, mask, pixels)
    reference = trace.tensors(checkpoint, batch, count=ours["generated"].shape[-1] if "generated" in ours else 0)
    reference = {name: reference[name] for name in ("logits", "generated") if name in ours and name in reference}
    if "logits" not in reference:
        print("the trace holds no logits")
        faults.append("logits")
    for name, error, bound, fault in compare.compare(ours, reference, activations=args.bound):
        report(name, error if not fault or error == error else float("nan"), bound)
    print("equal" if not faults else f"different: {', '.join(faults)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

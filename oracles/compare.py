"""Compares two trace files key by key.

    python oracles/compare.py OURS.safetensors REFERENCE.safetensors [--activations 1e-4] [--gradients 1e-3] [--all]

The error of a key is measured as `mmlens certify` measures it (README.md): against the largest value of the reference beside it. Keys of `attn.scores` are
compared only where both files leave them unmasked (a mask may be minus infinity or a large negative number), positions hidden by the reference's `attention_mask` are left out, and whole
numbers must be equal. Keys of one file only are listed; with `--all` a key of the reference that is missing is a failure.
"""

import argparse
import sys

from common import beside, load

import torch

EXACT = ("input_ids", "generated", "target", "attention_mask", "position_ids")
MASKED = -1e30


def scores(key):
    return key.endswith(".scores") and not key.startswith("grad.")


def axes(key, x):
    """How many of the last axes are one row: all of pixels and spectrograms, scores of a head, else the last."""
    if key in ("pixel_values", "vision.pixels", "input_features", "audio.mel"):
        return x.ndim
    return 2 if scores(key) else 1


def visible(key, x, mask):
    """Boolean tensor over `x`: what takes part in the comparison, given a padded batch's mask."""
    keep = torch.ones_like(x, dtype=torch.bool)
    name = key.removeprefix("grad.")
    if mask is None or not (name.startswith("text.") or name == "logits"):
        return keep
    real = mask.bool()
    if name.endswith(("attn.scores", "attn.pattern")):
        keep &= real[:, None, :, None] & real[:, None, None, :]
    elif name.endswith(("cross.scores", "cross.pattern")):
        keep &= real[:, None, :, None]
    elif not name.endswith(("cross.k", "cross.v")):
        keep &= real.reshape(*real.shape, *[1] * (x.ndim - 2))
    return keep


def compare(ours, reference, activations=1e-4, gradients=1e-3):
    """Rows of (key, error, bound, fault); `fault` is empty where the key passes."""
    mask = reference.get("attention_mask")
    rows = []
    for key in sorted(set(ours) & set(reference)):
        a, b = ours[key], reference[key]
        exact = key in EXACT
        bound = 0.0 if exact else gradients if key.startswith("grad.") else activations
        if exact and a.numel() == b.numel():
            a = a.reshape(b.shape)
        if a.shape != b.shape:
            rows.append((key, float("nan"), bound, f"shape {list(a.shape)} against {list(b.shape)}"))
            continue
        if exact:
            wrong = int((a.long() != b.long()).sum())
            rows.append((key, float(wrong), bound, f"{wrong} differ" if wrong else ""))
            continue
        a, b = a.float(), b.float()
        keep = visible(key, b, mask)
        if scores(key):
            bound = 2 * activations
            hidden = (a < MASKED) | (b < MASKED)
            if ((a < MASKED) != (b < MASKED))[keep].any():
                rows.append((key, float("nan"), bound, "masked entries differ"))
                continue
            keep &= ~hidden
        if not (torch.isfinite(a[keep]).all() and torch.isfinite(b[keep]).all()):
            rows.append((key, float("nan"), bound, "not finite"))
            continue
        # What takes no part is zero on both sides: it differs by nothing and measures nothing.
        error = beside(a.masked_fill(~keep, 0), b.masked_fill(~keep, 0), axes(key, b))
        rows.append((key, error, bound, "" if error <= bound else "beyond the bound"))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours")
    parser.add_argument("reference")
    parser.add_argument("--activations", type=float, default=1e-4)
    parser.add_argument("--gradients", type=float, default=1e-3)
    parser.add_argument("--all", action="store_true", help="fail if a key of the reference is missing")
    args = parser.parse_args()
    ours, reference = load(args.ours)[0], load(args.reference)[0]
    rows = compare(ours, reference, args.activations, args.gradients)
    for key, error, bound, fault in rows:
        print(f"{key:44} {error:10.2e}  {'ok' if not fault else 'FAIL: ' + fault} ({bound:g})")
    missing, extra = sorted(set(reference) - set(ours)), sorted(set(ours) - set(reference))
    for title, keys in (("only in the reference", missing), ("only in ours", extra)):
        if keys:
            print(f"{title}: {', '.join(keys)}")
    worst = max((e for _, e, _, _ in rows if e == e), default=0.0)
    faults = [key for key, _, _, fault in rows if fault] + (missing if args.all else [])
    print(f"{len(rows)} keys compared, worst {worst:.2e}, {len(faults)} at fault")
    return 1 if faults or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

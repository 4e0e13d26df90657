"""Qwen-VL's processors of pictures and clips in many configurations: `fixtures/qwen-processors`.

    python oracles/qwen_processors.py

Pictures go through the processor built on Pillow; clips have one built on torchvision alone. Most cases are neither rescaled nor
normalised, so that their values are the resized bytes.
"""

import json
import tempfile
from pathlib import Path

import common
import numpy as np
import torch
from common import FIXTURES, rng, write_json
from PIL import Image
from transformers import AutoImageProcessor, AutoVideoProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as smart_resize_in_time
from transformers.video_utils import VideoMetadata

import pictures

FOLDER = FIXTURES / "qwen-processors"
BYTES = {"do_rescale": False, "do_normalize": False}
SMALL = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
CLIP = [f"clip-{i}" for i in range(5)]


def size(least, most):
    return {"size": {"shortest_edge": least, "longest_edge": most}}


# What a folder's `preprocessor_config.json` says, and a picture.
IMAGES = {
    "square": (SMALL | BYTES | size(256, 640), "square"),
    "wide": (SMALL | BYTES | size(256, 640), "wide"),
    "tall": (SMALL | BYTES | size(256, 640), "tall"),
    "tiny": (SMALL | BYTES | size(256, 640), "tiny"),
    "wide-roomy": (SMALL | BYTES | size(64, 4096), "wide"),
    "tall-old": (SMALL | BYTES | {"min_pixels": 400, "max_pixels": 900, "image_processor_type": "Qwen2VLImageProcessor"}, "tall"),
    "older-above": (SMALL | BYTES | size(64, 4096) | {"min_pixels": 3000}, "square"),
    "repeated": (SMALL | BYTES | {"min_pixels": 64, "max_pixels": 300, "size": {"min_pixels": 64, "max_pixels": 300}}, "wide"),
    "fast": (SMALL | BYTES | size(256, 640) | {"image_processor_type": "Qwen2VLImageProcessorFast"}, "wide"),
    "odd-patches": ({"patch_size": 3, "merge_size": 1, "temporal_patch_size": 1} | BYTES | size(81, 700), "tall"),
    "three-merged": ({"patch_size": 2, "merge_size": 3, "temporal_patch_size": 3} | BYTES | size(81, 700), "wide"),
    "bilinear": (SMALL | BYTES | size(256, 640) | {"resample": 2}, "wide"),
    "lanczos": (SMALL | BYTES | size(256, 640) | {"resample": 1}, "tall"),
    "kept": (SMALL | BYTES | {"do_resize": False}, "square"),
    "clear": (SMALL | BYTES | size(256, 640), "rgba"),
    "palette": (SMALL | BYTES | size(256, 640), "palette-clear"),
    "grey": (SMALL | BYTES | size(64, 256), "grey"),
    "normal": (SMALL | size(64, 256), "tiny"),
    "normal-own": (SMALL | size(64, 128) | {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.5, 0.2], "rescale_factor": 0.01}, "tiny"),
    "scaled": (SMALL | size(64, 128) | {"do_normalize": False}, "tiny"),
    "steps-of-none": (SMALL | size(64, 128) | {"do_normalize": None, "do_rescale": None}, "tiny"),
    "shifted": (SMALL | size(64, 128) | {"do_rescale": False}, "tiny"),
}

# The family, what `video_preprocessor_config.json` says, frames, frames in a second.
CLIPS = {
    "two-kept": ("qwen2_vl", SMALL | BYTES | size(256, 640), CLIP, 3.0),
    "two-up": ("qwen2_vl", SMALL | BYTES | size(700, 900), CLIP[:3], None),
    "two-down": ("qwen2_5_vl", SMALL | BYTES | size(64, 200), CLIP, 24.0),
    "two-old": ("qwen2_5_vl", SMALL | BYTES | {"min_pixels": 500, "max_pixels": 600}, CLIP[:2], 2.0),
    "two-bilinear": ("qwen2_vl", SMALL | BYTES | size(64, 200) | {"resample": 2}, CLIP[:2], 2.0),
    "two-sampled": ("qwen2_vl", SMALL | BYTES | size(64, 200) | {"do_sample_frames": True, "num_frames": 3}, CLIP, 2.0),
    "two-by-rate": ("qwen2_5_vl", SMALL | BYTES | size(64, 200) | {"do_sample_frames": True, "fps": 5}, CLIP, 10.0),
    "two-capped": ("qwen2_vl", SMALL | BYTES | size(64, 900) | {"cap_pixels_per_frame": True, "max_video_tokens": 4}, CLIP, 10.0),
    "two-one": ("qwen2_vl", SMALL | BYTES | size(64, 200), CLIP[4:], 10.0),
    "two-three": ("qwen2_vl", {"patch_size": 2, "merge_size": 1, "temporal_patch_size": 3} | BYTES | size(20, 60), CLIP, 7.0),
    "two-square": ("qwen2_vl", SMALL | BYTES | size(64, 300), ["square", "square"], 1.0),
    "two-tall": ("qwen2_vl", SMALL | BYTES | size(300, 400), ["tall"], 1.0),
    "two-grey": ("qwen2_vl", SMALL | BYTES | size(64, 200), ["grey", "palette", "bilevel"], 1.0),
    "two-clear": ("qwen2_vl", SMALL | BYTES | size(64, 200), ["rgba", "palette-clear"], 1.0),
    "two-normal": ("qwen2_vl", SMALL | size(64, 64), CLIP[:2], 2.0),
    "two-own": ("qwen2_vl", SMALL | size(64, 64) | {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.5, 0.2], "rescale_factor": 0.01}, CLIP[:1], 2.0),
    "two-scaled": ("qwen2_vl", SMALL | size(64, 64) | {"do_normalize": False}, CLIP[:1], 2.0),
    "two-shifted": ("qwen2_vl", SMALL | size(64, 64) | {"do_rescale": False}, CLIP[:1], 2.0),
    "three-kept": ("qwen3_vl", SMALL | BYTES | size(256, 4096) | {"do_sample_frames": False}, CLIP, 3.0),
    "three-down": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"do_sample_frames": False}, CLIP, None),
    "three-up": ("qwen3_vl", SMALL | BYTES | size(4000, 5000) | {"do_sample_frames": False}, CLIP, 0.7),
    "three-tiny": ("qwen3_vl", SMALL | BYTES | size(64, 5000) | {"do_sample_frames": False}, ["tiny"] * 3, 0.7),
    "three-sampled": ("qwen3_vl", SMALL | BYTES | size(256, 1024), CLIP, 3.0),
    "three-by-rate": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"fps": 3, "min_frames": 2}, CLIP, 5.0),
    "three-most": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"max_frames": 2}, CLIP, 5.0),
    "three-capped": ("qwen3_vl", SMALL | BYTES | size(64, 1500) | {"cap_pixels_per_frame": True, "max_video_tokens": 3}, CLIP, 2.0),
    "three-older": ("qwen3_vl", SMALL | BYTES | size(256, 640) | {"image_processor_type": "Qwen2VLImageProcessor"}, CLIP, 2.0),
    "three-fast": ("qwen3_vl", SMALL | BYTES | size(256, 640) | {"image_processor_type": "Qwen2VLImageProcessorFast"}, CLIP, 2.0),
    "three-none": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"do_sample_frames": None}, CLIP, 9.0),
    "three-more": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"fps": None}, CLIP[:3], 9.0),
    "three-count": ("qwen3_vl", SMALL | BYTES | size(256, 1024) | {"fps": None, "num_frames": 3}, CLIP, 9.0),
    "three-normal": ("qwen3_vl", SMALL | size(64, 128), CLIP[:2], 2.0),
}


def opened(name):
    return Image.open(pictures.FOLDER / f"{name}.png")


def plain(x):
    """Values that are whole levels, as bytes."""
    x = torch.as_tensor(x)
    whole = x.to(torch.uint8)
    return whole if torch.equal(whole.to(x.dtype), x) else x


def picture(config, name):
    config = {"image_processor_type": "Qwen2VLImageProcessor"} | config
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "preprocessor_config.json", config)
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        out = processor([opened(name)], return_tensors="pt")
    return plain(out["pixel_values"]), {"config": config, "picture": name, "grid": out["image_grid_thw"][0].tolist()}


def times(taken, fps, together):
    stamps = Qwen3VLProcessor._calculate_timestamps(None, list(taken), 24 if fps is None else fps, together)
    return [f"{t:.1f}" for t in stamps]


def clip(kind, config, names, fps):
    frames = torch.stack([torch.from_numpy(np.array(convert_to_rgb(opened(n)))).permute(2, 0, 1) for n in names])
    n = len(names)
    about = {"fps": fps, "total_num_frames": n, "frames_indices": list(range(n)), "duration": None if fps is None else n / fps}
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "config.json", {"model_type": kind})
        write_json(Path(folder) / "video_preprocessor_config.json", config)
        processor = AutoVideoProcessor.from_pretrained(folder)
        out = processor([frames], video_metadata=[about], return_metadata=True, return_tensors="pt")
    made = out["video_metadata"][0]
    taken = [int(i) for i in made.frames_indices]
    together = processor.temporal_patch_size
    return plain(out["pixel_values_videos"]), {
        "kind": kind,
        "config": config,
        "frames": names,
        "fps": fps,
        "grid": out["video_grid_thw"][0].tolist(),
        "taken": taken,
        "seconds": together / made.sampled_fps,
        "times": times(taken, fps, together),
    }


def attempt(make):
    """What is made, or none where transformers refuses."""
    try:
        return make()
    except (ValueError, TypeError, ZeroDivisionError):
        return None


def sizes():
    """Sides, limits and what becomes of them; the factor first, of clips the frames too."""
    r = rng(71, "sizes")
    apart, together = [], []
    for i in range(150):
        h, w = (int(x) for x in np.exp(r.uniform(0, 8, 2)))
        factor, least = int(r.choice([2, 6, 8, 28, 32])), int(np.exp(r.uniform(3, 12)))
        most = least + int(np.exp(r.uniform(2, 13)))
        apart.append([h, w, factor, least, most, attempt(lambda: smart_resize(h, w, factor, least, most))])
        frames, step = int(r.integers(1, 40)), int(r.choice([1, 2, 2, 3]))
        made = attempt(lambda: smart_resize_in_time(frames, h, w, step, factor, least * 4, most * 4))
        together.append([frames, step, h, w, factor, least * 4, most * 4, made])
    return {"apart": apart, "together": together}


def samples():
    """Which frames are taken."""
    r = rng(72, "samples")
    two, three = [], []
    for i in range(80):
        total, rate = int(r.integers(1, 90)), float(r.choice([1, 2, 10, 23.976, 24, 29.97, 30, 60]))
        fps, least, most = float(r.choice([0.5, 1, 2, 4, 7.5])), int(r.integers(1, 9)), int(r.integers(9, 40))
        count = int(r.integers(1, 24)) if i % 4 == 0 else None
        about = lambda: VideoMetadata(total_num_frames=total, fps=rate)
        config = {"min_frames": least, "max_frames": most, "do_sample_frames": True}
        config |= {"fps": fps} if count is None else {"num_frames": count}
        # The bare processor asks for more than the whole one, which passes what the file says.
        whole = {k: config.get(k) for k in ("fps", "num_frames", "min_frames", "max_frames")} | {"temporal_patch_size": 2}
        taken = attempt(lambda: Qwen2VLVideoProcessor(**config).sample_frames(about(), **whole).tolist())
        if taken and max(taken) >= total:  # torch's steps may count one frame too many, which is then not there
            taken = None
        two.append([config, total, rate, taken])
        if count is None:
            made = attempt(lambda: Qwen3VLVideoProcessor(**config).sample_frames(about(), fps=fps).tolist())
            three.append([config, total, rate, made, made and times(made, rate, 2)])
    return {"two": two, "three": three}


def main():
    tensors, cases = {}, {"images": {}, "clips": {}}
    for name, case in IMAGES.items():
        tensors[f"images.{name}"], cases["images"][name] = picture(*case)
    for name, case in CLIPS.items():
        tensors[f"clips.{name}"], cases["clips"][name] = clip(*case)
    cases |= {"sizes": sizes(), "samples": samples()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "cases.json").write_text(json.dumps(cases) + "\n")
    path = common.save(FOLDER / "pixels.safetensors", tensors)
    common.why(
        FOLDER,
        "qwen_processors.py",
        "Pictures and clips through Qwen-VL's processors in many configurations; sizes and chosen frames for many lengths.",
        {"bytes": 0, "pixels": 1e-6, "sizes": 0, "frames": 0},
        "Bytes are equal; then come one product, one difference and one quotient. Relative to the largest absolute value.",
    )
    print(path.stat().st_size, (FOLDER / "cases.json").stat().st_size)
    for name, x in tensors.items():
        print(name, list(x.shape), x.dtype)


if __name__ == "__main__":
    main()

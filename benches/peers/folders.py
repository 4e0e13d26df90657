"""Checkpoints of random weights at real shapes, pictures and inputs, from a seed.

`make(folder, peer, mmlens)` fills a folder with all that the cases need; what is there already stays as it is. The inputs of a model
that is shown pictures are prepared by `mmlens trace` once, so that every side computes on the same numbers.
"""

import json
import pathlib
import shutil
import subprocess

import loading

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Which picture is explained, which one stands for "another", and what is asked.
PICTURES = {"b32": (224, 224), "smolvlm": (512, 512)}
ASK = {"shapes": "what colour is the triangle?", "smolvlm": "What is it?"}


def make(folder, mmlens):
    folder.mkdir(parents=True, exist_ok=True)
    for name, maker in {"vit": vit, "lm": lm, "long": long, "qwen": qwen, "b32": b32, "smolvlm": smolvlm, "shapes": shapes}.items():
        if not (folder / name / "done").exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
            maker(folder / name)
            (folder / name / "done").touch()
    inputs(folder)
    for name in ("shapes", "smolvlm", "b32"):
        for which in ("clean", "other"):
            out = folder / f"{name}-{which}.safetensors"
            if not out.exists():
                command = [mmlens, "trace", folder / name, "--image", folder / f"{name}-{which}.png", "--no-self-check"]
                command += ["--ask", ASK[name]] if name in ASK else []
                subprocess.run([str(part) for part in [*command, "--out", out]], check=True, stdout=subprocess.DEVNULL)


def vit(folder):
    """CLIP ViT-B/32's tower beside a text tower that is next to nothing."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=128,
                max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32,
                  image_size=224)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder)


def long(folder):
    """Two of SmolLM-135M's blocks, for long texts."""
    lm(folder, blocks=2, positions=65536)


def qwen(folder):
    """Four of the blocks of Qwen2.5-VL's tower, the last without windows, beside a decoder that is next to nothing."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    text = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                vocab_size=256, rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]})
    vision = dict(hidden_size=1280, intermediate_size=3420, depth=4, num_heads=16, out_hidden_size=64, fullatt_block_indexes=[3])
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, image_token_id=200, video_token_id=201)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


def lm(folder, blocks=30, positions=2048):
    """SmolLM-135M."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=blocks, num_attention_heads=9,
                         num_key_value_heads=3, vocab_size=49152, max_position_embeddings=positions, rope_theta=10000.0,
                         rms_norm_eps=1e-5, tie_word_embeddings=True, hidden_act="silu")
    LlamaForCausalLM(config).save_pretrained(folder)


def b32(folder):
    """A ViT-B/32 that tells 1000 classes apart."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32,
                       image_size=224, num_labels=1000)
    model = ViTForImageClassification(config)
    with torch.no_grad():  # The class token and the positions begin at almost nothing; a picture should matter.
        model.classifier.weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    spec = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 224, "width": 224}, "resample": 2,
            "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(spec))


def smolvlm(folder):
    """SmolVLM-256M, a picture of which is one tile of 64 tokens."""
    loading.smolvlm(folder, "float32")
    file = folder / "processor_config.json"
    spec = json.loads(file.read_text())
    spec["image_processor"] |= {"do_image_splitting": False, "size": {"longest_edge": 512}}
    file.write_text(json.dumps(spec))


def shapes(folder):
    """The model that ships inside, as it is."""
    shutil.copytree(ROOT / "crates" / "zoo" / "shipped" / "shapes-llava", folder, dirs_exist_ok=True)


def inputs(folder):
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    if not (folder / "inputs.safetensors").exists():
        torch.manual_seed(0)
        save_file({"pixels": torch.randn(8, 3, 224, 224), "ids": torch.randint(3, 49152, (128,)).float(),
                   "patches": torch.randn(3600, 1176)}, folder / "inputs.safetensors")
    for which, source in {"clean": "scene.png", "other": "other-scene.png"}.items():
        shutil.copy(ROOT / "docs" / "pictures" / source, folder / f"shapes-{which}.png")
        for i, (name, (width, height)) in enumerate(PICTURES.items()):
            # Random colours in cells, so that neither a tile nor a patch looks like another.
            cells = numpy.random.default_rng([i, len(which), ord(which[0])]).integers(0, 256, (16, 16, 3), dtype=numpy.uint8)
            Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}-{which}.png")

"""How long a checkpoint takes to open, and how much memory at most: mmlens beside transformers, on the same files.

    cargo build --release --example load
    python benches/peers/loading.py [--rounds 5] [--folder /tmp/mmlens-loading]

Makes random checkpoints of the real shape of SmolVLM-256M and of CLIP ViT-B/32 in f32 and bf16 (3 GB, once), opens each in a
process of its own, the two libraries in turn, and prints medians. Needs the packages of `oracles/requirements.txt`.

The peak is the kernel's (`VmHWM`): all pages that were in memory at one time, those of mapped files included.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "oracles" / "fixtures"

PEER = """
import sys, time
begin = time.perf_counter()
import torch, transformers
from transformers import {classes}
imported = time.perf_counter()
before = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
model = {kind}.from_pretrained({folder!r}, dtype=torch.{dtype}).eval()
processor = {processor}.from_pretrained({folder!r})
{touch}
opened = time.perf_counter()
after = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(opened - imported, imported - begin, int(after) / 1024, int(before) / 1024)
"""


def tokenizer(source, folder, size, placed):
    """The tokenizer of a fixture with as many words as the real one, and its special tokens where the real one has them."""
    spec = json.loads((FIXTURES / source / "model" / "tokenizer.json").read_text())
    vocab = {word: i for word, i in spec["model"]["vocab"].items() if word not in placed and i < 300}
    taken = set(placed.values()) | set(vocab.values())
    free = (i for i in range(size) if i not in taken)
    specials = {token["content"]: token for token in spec["added_tokens"]}
    for content in specials:
        vocab.pop(content, None)
    for content in specials:
        placed.setdefault(content, None)
    for content, i in placed.items():
        vocab[content] = next(free) if i is None else i
    have = set(vocab.values())
    vocab.update({f"<filler {i}>": i for i in range(size) if i not in have})
    merges = [m for m in spec["model"]["merges"] if all(p in vocab for p in (m if isinstance(m, list) else m.split(" ")))]
    spec["model"]["merges"] = [m for m in merges if "".join(m if isinstance(m, list) else m.split(" ")) in vocab]
    spec["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    for token in spec["added_tokens"]:
        token["id"] = vocab[token["content"]]
    if isinstance(spec.get("post_processor"), dict):
        text = json.dumps(spec["post_processor"])
        post = json.loads(text)
        for name, entry in (post.get("special_tokens") or {}).items():
            entry["ids"] = [vocab[name]]
        for role in ("sep", "cls"):
            if role in post:
                post[role][1] = vocab[post[role][0]]
        spec["post_processor"] = post
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    (folder / "tokenizer_config.json").write_text((FIXTURES / source / "model" / "tokenizer_config.json").read_text())


def smolvlm(folder, dtype):
    import torch
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
    config = SmolVLMConfig(
        image_token_id=49190, scale_factor=4, tie_word_embeddings=False, pad_token_id=2,
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                       "image_size": 512, "patch_size": 16},
        text_config={"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                     "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "vocab_size": 49280,
                     "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "bos_token_id": 1,
                     "eos_token_id": 2, "pad_token_id": 2})
    torch.manual_seed(0)
    SmolVLMForConditionalGeneration(config).to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer("smolvlm-a", folder, 49280, {"<image>": 49190})
    spec = json.loads((FIXTURES / "smolvlm-a" / "model" / "processor_config.json").read_text())
    spec["image_seq_len"] = 64
    for name in ("image_processor", "video_processor"):
        spec[name] |= {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
    (folder / "processor_config.json").write_text(json.dumps(spec))
    template = FIXTURES / "smolvlm-a" / "model" / "chat_template.jinja"
    (folder / "chat_template.jinja").write_text(template.read_text())


def clip(folder, dtype):
    import torch
    from transformers import CLIPConfig, CLIPModel
    config = CLIPConfig(projection_dim=512)
    config.text_config.eos_token_id, config.text_config.bos_token_id, config.text_config.pad_token_id = 49407, 49406, 49407
    torch.manual_seed(0)
    CLIPModel(config).to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer("clip-a", folder, 49408, {"<|startoftext|>": 49406, "<|endoftext|>": 49407})
    spec = {"crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(spec))


KINDS = {
    "SmolVLM-256M": (smolvlm, "SmolVLMForConditionalGeneration", "AutoTokenizer"),
    "CLIP ViT-B/32": (clip, "CLIPModel", "AutoTokenizer"),
}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(x) for x in done.stdout.strip().splitlines()[-1].split()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/mmlens-loading"))
    args = parser.parse_args()
    ours = ROOT / "target" / "release" / "examples" / "load"
    print("| checkpoint | weights in f32 | | seconds | peak MiB | over the weights |")
    print("|---|---|---|---|---|---|")
    for name, (make, kind, processor) in KINDS.items():
        for dtype in ("float32", "bfloat16"):
            folder = args.folder / f"{make.__name__}-{dtype}"
            if not (folder / "tokenizer.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                subprocess.run([sys.executable, __file__, "--make", make.__name__, dtype, str(folder)], check=True)
            stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            weights = stored / 2**20 * (1 if dtype == "float32" else 2)
            touch = "sum(float(p.sum()) for p in model.parameters())"
            peers = {
                "mmlens": [str(ours), str(folder)],
                "mmlens, no self-check": [str(ours), str(folder), "--no-self-check"],
            }
            for label, line in (("transformers", ""), ("transformers, weights summed", touch)):
                code = PEER.format(classes=f"{kind}, {processor}", kind=kind, processor=processor, folder=str(folder),
                                   dtype="float32", touch=line)
                peers[label] = [sys.executable, "-c", code]
            rounds = {label: [] for label in peers}
            for _ in range(args.rounds):
                for label, command in peers.items():
                    rounds[label].append(run(command))
            for label, found in rounds.items():
                seconds = statistics.median(r[0] for r in found)
                least = min(r[0] for r in found)
                peak = statistics.median(r[2] for r in found)
                print(f"| {name}, {dtype} file | {weights:.0f} MiB | {label} | {seconds:.2f} ({least:.2f}) | {peak:.0f} "
                      f"| {100 * (peak / weights - 1):+.0f} % |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        {"smolvlm": smolvlm, "clip": clip}[sys.argv[2]](Path(sys.argv[4]), sys.argv[3])
    else:
        main()

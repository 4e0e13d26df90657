"""The same work in mmlens and in PyTorch with transformers, on the same weights, inputs and number of threads.

    pip install -r benches/peers/requirements.txt
    cargo build --release --example peer
    python benches/peers/compare.py [--rounds 5] [--repetitions 5] [--threads 2] [CASE ...]

Makes random weights at the real shapes of CLIP ViT-B/32 and of SmolLM-135M, in a temporary folder (or --folder, to keep them).
For every case it runs, in turn: mmlens, PyTorch as installed, and PyTorch with MKL's fast path forced, which Intel's library refuses
to processors of other makers; a process of its own each time. Results are compared first: a case whose results differ is an
error. Then a table: minimum and median over all repetitions of all rounds, in milliseconds, and the ratios PyTorch / mmlens (above 1: mmlens is
faster). On a busy machine look at the minima.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

CASES = ["vit-1", "vit-8", "vit-grad-1", "vit-grad-8", "prompt-128", "decode-64"]
TOLERANCE = {"vit-1": 1e-4, "vit-8": 1e-4, "vit-grad-1": 1e-3, "vit-grad-8": 1e-3, "prompt-128": 1e-4, "decode-64": 0.0}
SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\nint mkl_serv_intel_cpu(void) { return 1; }\n"


def make(folder):
    """Checkpoints and inputs, from a seed."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    text = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=128,
                max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32,
                  image_size=224)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision)).save_pretrained(folder / "vit")
    config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3, vocab_size=49152, max_position_embeddings=2048, rope_theta=10000.0,
                         rms_norm_eps=1e-5, tie_word_embeddings=True, hidden_act="silu")
    LlamaForCausalLM(config).save_pretrained(folder / "lm")
    inputs = {"pixels": torch.randn(8, 3, 224, 224), "ids": torch.randint(3, 49152, (128,)).float()}
    save_file(inputs, folder / "inputs.safetensors")


def side(case, folder, repetitions, threads):
    """One case in PyTorch: what `peer` prints."""
    import time

    import torch
    from safetensors.torch import load_file
    from transformers import CLIPModel, DynamicCache, LlamaForCausalLM

    torch.set_num_threads(threads)
    inputs = load_file(folder / "inputs.safetensors")
    if case.startswith("vit"):
        # Weights take no gradient: neither side computes any.
        model = CLIPModel.from_pretrained(folder / "vit").vision_model.eval().requires_grad_(False)
        pixels = inputs["pixels"][: 8 if case.endswith("8") else 1]

        def see():
            with torch.inference_mode():
                return model(pixel_values=pixels).last_hidden_state[:, :1].reshape(-1)

        def gradient():
            leaf = pixels.clone().requires_grad_(True)
            model(pixel_values=leaf).last_hidden_state[:, :1].sum().backward()
            return leaf.grad.reshape(-1)[:4096]

        run = gradient if "grad" in case else see
    else:
        model = LlamaForCausalLM.from_pretrained(folder / "lm").eval()
        ids = inputs["ids"].long()[None]

        def prompt():
            with torch.inference_mode():
                return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1, :4096]

        def decode():
            with torch.inference_mode():
                cache, following, said = DynamicCache(config=model.config), ids[:, :16], []
                while len(said) < 64:
                    out = model(input_ids=following, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    following = out.logits[:, -1].argmax(-1, keepdim=True)
                    said.append(float(following))
                return torch.tensor(said)

        run = prompt if case == "prompt-128" else decode
    result, times = run(), []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"times": times, "result": result.detach().tolist()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--peer", default="target/release/examples/peer")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return side(options.side, options.folder, options.repetitions, options.threads)
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        sys.exit(f"no such case: {', '.join(unknown)}; cases are {', '.join(CASES)}")

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folder = options.folder or scratch
        if not (folder / "inputs.safetensors").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
        (scratch / "shim.c").write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", scratch / "shim.so", scratch / "shim.c"], check=True)
        environment = dict(os.environ, RAYON_NUM_THREADS=str(options.threads), OMP_NUM_THREADS=str(options.threads))
        ours = lambda case: [options.peer, case, folder, options.repetitions]
        theirs = lambda case: [sys.executable, __file__, "--side", case, "--folder", folder,
                               "--repetitions", options.repetitions, "--threads", options.threads]
        sides = {"mmlens": (ours, {}), "torch": (theirs, {}), "torch, fast path": (theirs, {"LD_PRELOAD": str(scratch / "shim.so")})}

        def once(name, case):
            command, extra = sides[name]
            command = [str(part) for part in command(case)]
            done = subprocess.run(command, env=dict(environment, **extra), stdout=subprocess.PIPE, text=True, check=True)
            return json.loads(done.stdout.splitlines()[-1])

        print("| case | " + " | ".join(f"{name}, min / median ms" for name in sides) + " | torch / mmlens | fast path / mmlens | difference |")
        print("|---|" + "---|" * (len(sides) + 3))
        for case in options.cases:
            times, results = {name: [] for name in sides}, {}
            for _ in range(options.rounds):
                for name in sides:
                    out = once(name, case)
                    times[name] += out["times"]
                    results.setdefault(name, out["result"])
            want = results["torch"]
            size = max(abs(x) for x in want)
            difference = max(abs(a - b) for a, b in zip(results["mmlens"], want, strict=True)) / size
            if difference > TOLERANCE[case]:
                sys.exit(f"{case}: results differ by {difference:.1e} of the largest value")
            least = {name: min(values) for name, values in times.items()}
            middle = {name: statistics.median(values) for name, values in times.items()}
            cells = [f"{least[name]:.1f} / {middle[name]:.1f}" for name in sides]
            ratio = lambda name: f"{least[name] / least['mmlens']:.2f} / {middle[name] / middle['mmlens']:.2f}"
            print(f"| {case} | " + " | ".join(cells) + f" | {ratio('torch')} | {ratio('torch, fast path')} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()

"""What every layer and position of `clip-a` would be in the shared space: `fixtures/methods/lens-clip-a.safetensors`.

The hidden states that transformers gives, of the picture's tower through `post_layernorm` and `visual_projection`, of the text tower
through `final_layer_norm` and `text_projection`; their cosines with the captions, or the pictures, as the model itself has them, and what
its scale makes of these. Padding of a caption is written as zero.
"""

import common
import torch
from common import FIXTURES
from PIL import Image

import pictures
import trace

IMAGES = ["square", "wide"]
TEXTS = ["a photo of a red circle", "two blue squares", "ring"]


def main():
    checkpoint = trace.open_checkpoint(FIXTURES / "clip-a" / "model")
    model = checkpoint.model
    batch = trace.prepare(checkpoint, [{"images": [Image.open(pictures.FOLDER / f"{name}.png") for name in IMAGES], "texts": TEXTS}])
    unit = lambda x: x / x.norm(dim=-1, keepdim=True)
    with torch.no_grad():
        own = model(**batch.kwargs(), output_hidden_states=True)
        seen, read = (torch.stack(list(side.hidden_states)) for side in (own.vision_model_output, own.text_model_output))
        patches = unit(model.visual_projection(model.vision_model.post_layernorm(seen)))
        words = unit(model.text_projection(model.text_model.final_layer_norm(read)))
        vision, text = patches @ own.text_embeds.T, words @ own.image_embeds.T
        scale = model.logit_scale.exp()
        # At the last layer, where it is pooled, it is the model's own similarity.
        ends = batch.attention_mask.sum(-1) - 1
        rows = torch.arange(len(TEXTS))
        for name, found, wanted in (
            ("vision", vision[-1, :, 0] * scale, own.logits_per_image),
            ("text", text[-1, rows, ends] * scale, own.logits_per_text),
        ):
            worst, relative = common.difference(found, wanted)
            assert relative < 1e-5, (name, worst)
    out = {
        "vision": vision,
        "vision.logits": vision * scale,
        "vision.probabilities": (vision * scale).softmax(-1),
        "vision.mean": vision.mean(2),
        "text": text * batch.attention_mask[None, :, :, None],
        "lengths": batch.attention_mask.sum(-1),
        "logits_per_image": own.logits_per_image,
    }
    about = {
        "checkpoint": "fixtures/clip-a/model",
        "images": IMAGES,
        "texts": TEXTS,
        "axes": "vision: depth image pos text; text: depth text pos image",
        "depth": "0 is the stream before block 0, i + 1 the stream after block i",
    }
    path = common.save(FIXTURES / "methods" / "lens-clip-a.safetensors", out, about)
    print(f"lens: {path.stat().st_size / 1024:.1f} KiB, vision {list(vision.shape)}, text {list(text.shape)}, mean cosine by depth {vision.mean((1, 2, 3)).tolist()}")


if __name__ == "__main__":
    main()

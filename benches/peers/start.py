"""The shortest program that asks a model about a picture: from the start of the process to the first answer."""

import json
import sys

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder, picture, question, most, threads = sys.argv[1:]

import torch

torch.set_num_threads(int(threads))
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder)
content = [{"type": "image"}, {"type": "text", "text": question}]
text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
inputs = processor(text=text, images=[Image.open(picture)], return_tensors="pt")
said = model.generate(**inputs, max_new_tokens=int(most), do_sample=False)[0, inputs["input_ids"].shape[1]:]
print(json.dumps({"result": said.tolist(), "text": processor.decode(said, skip_special_tokens=True)}))

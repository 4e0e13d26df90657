"""captum."""

from captum.attr import IntegratedGradients, Occlusion

import torch

from . import common
from .common import whole


def prepare(case, folder, setting):
    model = common.seeing_or_classifier(case.what, folder)
    pixels, rows, side = model.inputs["clean"]["pixel_values"], setting or 8, case.side

    def target():
        with torch.inference_mode():
            token = int(model.of_pixels(pixels).argmax())
        return lambda x: model.of_pixels(x)[:, token]

    def gradients():
        method = IntegratedGradients(target())
        return method.attribute(pixels, baselines=0, n_steps=common.NODES, method="gausslegendre", internal_batch_size=rows)

    @torch.no_grad()
    def occlusion():
        window = (pixels.shape[1], side, side)
        return Occlusion(target()).attribute(pixels, window, strides=window, baselines=0, perturbations_per_eval=rows)

    if case.kind == "ig":
        return whole(gradients, lambda out: out.reshape(-1)[::common.STEP])
    return whole(occlusion, lambda out: out[0, 0, ::side, ::side])

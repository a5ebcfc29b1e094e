"""What the UNet is told beside the noisy latents, as one tensor a caption, whichever base model it is.

Stable Diffusion 1 and 2 read the text encoder's hidden states [T, D]. XL reads those of two encoders, side by side,
and the second one's pooled embedding [P]: here that is one row more, [T + 1, D], filled up with zeros. So the cache,
caption dropout and guidance know of one tensor, and this file alone knows what is in it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

TIME_IDS = 6  # original height and width, top and left of the crop, height and width asked for


def pack(words_BTD: torch.Tensor, pooled_BP: torch.Tensor) -> torch.Tensor:
    """Return XL's conditioning [B, T + 1, D]."""
    row_BD = F.pad(pooled_BP, (0, words_BTD.shape[-1] - pooled_BP.shape[-1]))
    return torch.cat([words_BTD, row_BD.unsqueeze(1)], dim=1)


def is_packed(unet_config: Any) -> bool:
    """Return whether a UNet of this configuration reads pooled embeddings and sizes beside the words."""
    return unet_config.get("addition_embed_type") == "text_time"


def pooled_width(unet_config: Any) -> int:
    """Return P, the width of the pooled embedding."""
    return int(unet_config["projection_class_embeddings_input_dim"]) - TIME_IDS * int(
        unet_config["addition_time_embed_dim"]
    )


def predict(
    unet: Any,
    noisy_BCHW: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: torch.Tensor,
    size_px: tuple[int, int],
) -> torch.Tensor:
    """Return the UNet's prediction [B, C, H, W], in its dtype, which the inputs have too.

    conditioning: [B, T, D], packed for XL.  size_px: (height, width) of the image. XL is told that the image was
    drawn at this size and not cropped, in training as in sampling: that is how it draws its sharpest.
    """
    if not is_packed(unet.config):
        return unet(noisy_BCHW, timesteps, conditioning).sample
    words_BTD, pooled_BP = conditioning[:, :-1], conditioning[:, -1, : pooled_width(unet.config)]
    sizes = torch.tensor([*size_px, 0, 0, *size_px], device=conditioning.device, dtype=conditioning.dtype)
    added = {"text_embeds": pooled_BP, "time_ids": sizes.expand(len(words_BTD), TIME_IDS)}
    return unet(noisy_BCHW, timesteps, words_BTD, added_cond_kwargs=added).sample

"""The parts of a Stable Diffusion, each loaded once, with the few calls that images of its inside are made of."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from emote.config import Accelerator, Precision
from emote.data.art import art_items
from emote.data.images import Layout, decode_for, lay_out
from emote.diffusion.generate import to_images
from emote.models import components, conditioning
from emote.models.device import choose
from emote.models.precision import DTYPES
from emote.models.presets import find_base, model_named
from emote.models.prompts import PromptEncoder
from emote.util.errors import ConfigError
from emote.util.hints import did_you_mean, nearest
from emote.util.quiet import quiet_libraries


class Parts:
    """A base model, frozen. Tensors go in and come out in float32, whatever the UNet computes in.

    model: as in `emote generate`: mini, sd15, a diffusers directory, a single file or a Hub name.
    side_px: of the squares that it draws best.
    Raises ConfigError where there is no such model or device.
    """

    def __init__(self, model: str = "mini", device: str = "auto", precision: Precision = Precision.auto) -> None:
        quiet_libraries()
        self.base = find_base(model_named(model))
        self.device, self.precision = choose(Accelerator[device], precision)
        path, variant = self.base.path, self.base.config.variant
        self.unet = components.load_unet(path, DTYPES[self.precision], self.device, variant=variant)
        self.vae = components.load_vae(path, torch.float32, self.device, variant=variant)
        self.encoder = PromptEncoder(path, self.device, variant=variant)
        self.schedule = components.load_scheduler(path)
        self.side_px = self.base.side_px

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image of side_px."""
        side = self.side_px // self.base.multiple_px
        return int(self.unet.config["in_channels"]), side, side

    def encode(self, image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean, logvar) of the latents of an RGB image, each [1, C, H, W]; see `components.encode_images`."""
        pixels_HW3 = torch.from_numpy(np.array(image.convert("RGB"))).float() / 127.5 - 1
        return components.encode_images(self.vae, pixels_HW3.permute(2, 0, 1).unsqueeze(0))

    @torch.inference_mode()
    def decode(self, latents_BCHW: torch.Tensor) -> list[Image.Image]:
        """An image for each row of latents."""
        unscaled_BCHW = latents_BCHW.to(self.device) / self.vae.config["scaling_factor"]
        # one by one, so that no other row changes an image's bits
        return [to_images(self.vae.decode(row).sample.cpu())[0] for row in unscaled_BCHW.split(1)]

    def tokens(self, text: str) -> list[str]:
        """What the tokenizer cuts a text into, with the marks at its start and end and without padding."""
        pieces = self.encoder.tokenizer.convert_ids_to_tokens(self.encoder.tokenizer(text).input_ids)
        return [piece.removesuffix("</w>") for piece in pieces]

    @torch.inference_mode()
    def predict(self, noisy_BCHW: torch.Tensor, timestep: int | torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """What the UNet answers [B, C, H, W] to noisy latents, conditioned on `encoder([...])` of B texts."""
        dtype, device = self.unet.dtype, self.device
        timesteps = torch.as_tensor(timestep, device=device)
        size_px = (noisy_BCHW.shape[2] * self.base.multiple_px, noisy_BCHW.shape[3] * self.base.multiple_px)
        seen = noisy_BCHW.to(device, dtype)
        return conditioning.predict(self.unet, seen, timesteps, words.to(device, dtype), size_px).float()


def emoji_image(name: str, style: str, side_px: int) -> Image.Image:
    """The drawing of an emoji, by its Unicode name, on white. style: openmoji or twemoji.

    Raises ConfigError, with the nearest name, where there is none.
    """
    items = {item.caption: item for item in art_items(style, "{text}")}
    if name not in items:
        raise ConfigError(f"{style} has no emoji called {name!r}{did_you_mean(nearest(name, items))}")
    layout = Layout(side_px, margin=0.03)  # as the miniature was trained
    return lay_out(decode_for(items[name].read(), layout), layout)

"""Augmentations of whole batches on the device, so that the towers know a subject in styles they never saw.

All take and give images [B, 3, H, W] in [0, 1], or premultiplied RGBA [B, 4, H, W]; each changes a random share of
the batch. None mirrors: "left arrow" would become "right arrow".
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from emote.tools.pretraining.loop import Draw


def restyle(rgba_B4HW: torch.Tensor, draw: Draw) -> torch.Tensor:
    """uint8 premultiplied RGBA to images [B, 3, H, W] in [-1, 1]: moved, bent, recoloured, outlined, flattened."""
    rgba = move(rgba_B4HW.float() / 255, draw)
    images = lay_on_background(rgba, draw, plain_share=0.75)
    images = _some(images, posterise(images, draw), 0.15, draw)
    images = _some(images, recolour(images, draw), 0.6, draw)
    images = _some(images, outline(images, draw), 0.35, draw)
    images = _some(images, line_art(images), 0.05, draw)
    images = _some(images, thicken(images, draw), 0.15, draw)
    images = _some(images, soften(images), 0.15, draw)
    images = _some(images, erase(images, draw), 0.2, draw)
    return images * 2 - 1


def _some(before: torch.Tensor, after: torch.Tensor, share: float, draw: Draw) -> torch.Tensor:
    return torch.where(draw.uniform(len(before), 1, 1, 1) < share, after, before)


def move(rgba: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Turn (±20°), scale, stretch, shear, shift, and bend by a smooth random field (half of them)."""
    count = len(rgba)
    angle = (draw.uniform(count) - 0.5) * math.radians(40) * (draw.uniform(count) < 0.7)
    scale = 1 / (0.65 + 0.45 * draw.uniform(count))
    stretch = torch.exp((draw.uniform(count) - 0.5) * 0.5)
    shear = (draw.uniform(count) - 0.5) * 0.4
    shift = (draw.uniform(count, 2) - 0.5) * 0.24
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos * stretch, -sin * stretch + shear, shift[:, 0]], dim=1),
            torch.stack([sin / stretch, cos / stretch, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(rgba.shape), align_corners=False)
    field = draw.normal(count, 2, 5, 5) * 0.06 * (draw.uniform(count, 1, 1, 1) < 0.5)
    bend = F.interpolate(field, size=rgba.shape[-2:], mode="bicubic", align_corners=True)
    return F.grid_sample(rgba, grid + bend.permute(0, 2, 3, 1), align_corners=False)


def lay_on_background(rgba: torch.Tensor, draw: Draw, plain_share: float) -> torch.Tensor:
    """White for `plain_share` of the batch, a random plain colour for the rest."""
    count = len(rgba)
    colour = draw.uniform(count, 3, 1, 1)
    background = torch.where(draw.uniform(count, 1, 1, 1) < plain_share, 1.0, colour)
    return (rgba[:, :3] + (1 - rgba[:, 3:]) * background).clamp(0, 1)


def recolour(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Hue turned, saturation and contrast changed, channels exchanged; some grey. White and black mostly stay."""
    count = len(images)
    eye = torch.eye(3, device=images.device)
    grey = torch.full((3, 3), 1 / 3, device=images.device)
    angle = (draw.uniform(count, 1, 1) - 0.5) * 2 * math.pi
    # a rotation about the grey axis (Rodrigues)
    axis = (eye.roll(-1, 0) - eye.roll(1, 0)) / -math.sqrt(3)  # made on the device: a copy there would wait for it
    turn = torch.cos(angle) * eye + torch.sin(angle) * axis + (1 - torch.cos(angle)) * grey
    saturation = 0.3 + 1.2 * draw.uniform(count, 1, 1)
    saturation = torch.where(draw.uniform(count, 1, 1) < 0.15, 0.0, saturation)
    turn = torch.where(draw.uniform(count, 1, 1) < 0.5, turn, eye)
    matrix = turn @ (saturation * eye + (1 - saturation) * grey)
    order = torch.argsort(draw.uniform(count, 3), dim=1)
    shuffled = torch.where(draw.uniform(count, 1, 1) < 0.3, F.one_hot(order, 3).float(), eye)
    mixed = torch.einsum("bij,bjhw->bihw", shuffled @ matrix, images)
    gamma = torch.exp((draw.uniform(count, 1, 1, 1) - 0.5) * 1.2)
    contrast = 0.7 + 0.5 * draw.uniform(count, 1, 1, 1)
    return (((mixed.clamp(1e-3, 1) ** gamma) - 1) * contrast + 1).clamp(0, 1)


def edges(images: torch.Tensor, threshold: float = 0.18) -> torch.Tensor:
    """Where colours change within three pixels: [B, 1, H, W] in [0, 1]."""
    smooth = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    span = F.max_pool2d(smooth, 3, stride=1, padding=1) + F.max_pool2d(-smooth, 3, stride=1, padding=1)
    return ((span.amax(dim=1, keepdim=True) - threshold) * 8).clamp(0, 1)


def outline(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Dark lines of one of three widths along all borders of colours, as OpenMoji draws; mostly black ones."""
    lines = edges(images, threshold=0.14 + 0.2 * float(torch.rand(1, generator=draw.cpu)))
    wide = F.max_pool2d(lines, 3, stride=1, padding=1)
    wider = F.max_pool2d(wide, 3, stride=1, padding=1)
    which = draw.uniform(len(images), 1, 1, 1)
    lines = torch.where(which < 0.4, lines, torch.where(which < 0.85, wide, wider))
    ink = 0.35 * draw.uniform(len(images), 3, 1, 1) * (draw.uniform(len(images), 1, 1, 1) < 0.3)
    return images * (1 - lines) + ink * lines


def line_art(images: torch.Tensor) -> torch.Tensor:
    """Black borders on white, nothing else."""
    return (1 - F.max_pool2d(edges(images), 3, stride=1, padding=1)).expand_as(images)


def posterise(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Few levels a channel: gradients become flat areas."""
    levels = (2 + 4 * draw.uniform(len(images), 1, 1, 1)).round()
    smooth = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return (smooth * levels).round() / levels


def thicken(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Dark parts grow or shrink by a pixel or two."""
    size = 3 if draw.integer(2) else 5
    light = F.max_pool2d(images, size, stride=1, padding=size // 2)
    dark = -F.max_pool2d(-images, size, stride=1, padding=size // 2)
    return torch.where(draw.uniform(len(images), 1, 1, 1) < 0.4, light, dark)


def soften(images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(F.avg_pool2d(images, 4), size=images.shape[-2:], mode="bilinear", align_corners=False)


def erase(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """A rectangle of up to 0.35 of each side becomes one colour."""
    count, _, height, width = images.shape
    across = torch.arange(width, device=images.device).view(1, 1, 1, width) / width
    down = torch.arange(height, device=images.device).view(1, 1, height, 1) / height
    size = 0.1 + 0.25 * draw.uniform(2, count, 1, 1, 1)
    start = draw.uniform(2, count, 1, 1, 1) * (1 - size)
    inside = (across >= start[0]) & (across < start[0] + size[0]) & (down >= start[1]) & (down < start[1] + size[1])
    return torch.where(inside, draw.uniform(count, 3, 1, 1), images)

from __future__ import annotations

import torch

from emote.tools.pretraining.art_set import ArtSet
from emote.tools.pretraining.augment import (
    edges,
    lay_on_background,
    line_art,
    move,
    outline,
    posterise,
    recolour,
    restyle,
)
from emote.tools.pretraining.loop import draw_at

CPU = torch.device("cpu")


def halves(left: float = 1.0, right: float = 0.2) -> torch.Tensor:
    images = torch.full((8, 3, 32, 32), left)
    images[..., 16:] = right
    return images


def test_restyled_drawings_are_images_and_differ_from_each_other(art: ArtSet) -> None:
    same = art.rgba_N4HW[:1].expand(6, -1, -1, -1)
    images = restyle(same, draw_at(0, 0, CPU))
    assert images.shape == (6, 3, 128, 128) and float(images.min()) >= -1 and float(images.max()) <= 1
    assert len({float(image.sum()) for image in images}) == 6
    assert torch.equal(images, restyle(same, draw_at(0, 0, CPU)))


def test_moving_keeps_what_is_transparent_transparent() -> None:
    assert float(move(torch.zeros(4, 4, 32, 32), draw_at(0, 0, CPU)).abs().max()) == 0


def test_backgrounds_are_white_for_their_share_and_plain() -> None:
    images = lay_on_background(torch.zeros(400, 4, 4, 4), draw_at(0, 0, CPU), plain_share=0.75)
    assert bool((images == images[:, :, :1, :1]).all())
    assert abs(float((images.amin(dim=(1, 2, 3)) == 1).float().mean()) - 0.75) < 0.06


def test_recolouring_leaves_white_white() -> None:
    found = recolour(torch.ones(64, 3, 4, 4), draw_at(0, 0, CPU))
    torch.testing.assert_close(found, torch.ones_like(found), atol=1e-4, rtol=0)


def test_recolouring_gives_one_colour_many_hues() -> None:
    red = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1).expand(64, 3, 2, 2)
    strongest = recolour(red, draw_at(0, 0, CPU))[:, :, 0, 0].argmax(dim=1)
    assert set(strongest.tolist()) == {0, 1, 2}


def test_outlines_lie_on_borders_alone() -> None:
    lines = edges(halves())
    assert bool((lines[..., 14:18].amax(dim=-1) > 0.9).all())
    assert float(lines[..., :12].max()) == 0 == float(lines[..., 20:].max())
    outlined = outline(halves(), draw_at(0, 0, CPU))
    assert bool((outlined[..., 14:18].amin(dim=-1) < 0.4).all())
    torch.testing.assert_close(outlined[..., :8], halves()[..., :8])
    assert float(line_art(halves())[..., 24:].min()) == 1


def test_posterising_leaves_few_levels() -> None:
    ramp = torch.linspace(0, 1, 64).expand(8, 3, 64, 64)
    assert all(len(image.unique()) <= 7 for image in posterise(ramp, draw_at(0, 0, CPU)))

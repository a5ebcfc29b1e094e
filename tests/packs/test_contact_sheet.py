from __future__ import annotations

import numpy as np

from emote.packs.contact_sheet import GROUNDS, contact_sheet
from tests.packs.helpers import blob


def test_every_emoji_is_on_light_and_dark() -> None:
    one = np.asarray(contact_sheet([blob()], ["fox"], "one"))
    red = (one == (0xDD, 0x2E, 0x44)).all(-1)
    for ground in GROUNDS:
        rgb = tuple(int(ground[i : i + 2], 16) for i in (1, 3, 5))
        assert (one == rgb).all(-1).sum() > 10_000
    middle = one.shape[1] // 2
    assert min(red[:, :middle].sum(), red[:, middle:].sum()) > 10_000  # 128, 64, 32 and 20 px on each


def test_sheets_of_many_and_of_awkward_names_are_drawn() -> None:
    sheet = contact_sheet([blob(40, 90)] * 7, ["w" * 32, *"abcdef"], "long title " * 100)
    assert sheet.height > 4 * 128

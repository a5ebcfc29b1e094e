"""What a set with bad images in it means: go on without them, or stop."""

from __future__ import annotations

from emote.config import OnBadItem
from emote.data.item import Skipped
from emote.util.errors import ConfigError

NAMED = 10  # how many bad items a message spells out; a count stands for the rest


def apply_policy(kept: int, skipped: list[Skipped], policy: OnBadItem) -> None:
    """Raise ConfigError where `kept` usable items beside `skipped` ones are no set to train on.

    `fail` tolerates no bad item. `skip` goes on unless nothing is left or more than half is bad: then the
    source is wrong (a caption column, a folder), and the few that happen to be readable are no answer. `skip_any` goes
    on with whatever is left.
    """
    if policy is OnBadItem.fail and skipped:
        raise ConfigError(
            f"{count(len(skipped))} cannot be used, and data.on_bad_item=fail allows none:\n{listing(skipped)}\n"
            "repair or remove them, or set data.on_bad_item=skip"
        )
    if kept == 0:
        if not skipped:
            raise ConfigError("the source holds no images")
        raise ConfigError(f"none of {count(len(skipped))} can be used:\n{listing(skipped)}")
    if len(skipped) > kept and policy is not OnBadItem.skip_any:
        raise ConfigError(
            f"{len(skipped)} of {count(len(skipped) + kept)} cannot be used, which is more than half:\n"
            f"{listing(skipped)}\nrepair or remove them: with so many the source itself is likely wrong; or set "
            "data.on_bad_item=skip_any to go on with the rest"
        )


def listing(skipped: list[Skipped]) -> str:
    """Return the first bad items, one a line, then how many more there are."""
    lines = [f"  {item}" for item in skipped[:NAMED]]
    if len(skipped) > NAMED:
        lines.append(f"  and {len(skipped) - NAMED:,} more")
    return "\n".join(lines)


def count(number: int) -> str:
    return f"{number:,} item" if number == 1 else f"{number:,} items"

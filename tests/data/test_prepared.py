from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from emote.config import OnBadItem
from emote.data.item import Skipped
from emote.data.order import item_at
from emote.data.policy import apply_policy
from emote.data.prepared import Prepared, Scan, TrainingSet, prepare, scan, whole_repeats, without
from emote.data.split import held_out_concepts, join_concepts
from emote.util.errors import ConfigError
from tests.data.helpers import CountingEncoder, CountingTextEncoder, bytes_of, data_config, write_folder


def prepared(path: Path, cache: Path, **values: Any) -> Prepared:
    data = data_config(path=path, **values)
    return prepare(
        scan(data),
        data,
        load_image_encoder=CountingEncoder().load,
        image_encoder_key="conv",
        load_text_encoder=CountingTextEncoder().load,
        text_encoder_key="text",
        cache_dir=cache,
        prompts=["a prompt"],
        batch_size=4,
    )


def names(scanned: Scan) -> list[str]:
    return [entry.item.name for entry in scanned.entries]


# Scanning


def test_identity_follows_content_and_captions_and_nothing_else(tmp_path: Path) -> None:
    first = scan(data_config(path=write_folder(tmp_path / "a", 5)))
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for number, name in enumerate("zyxwv"):  # other names, another order, another place
        shutil.copy(tmp_path / f"a/{number:03}.png", tmp_path / f"b/deep/{name}.png")
        shutil.copy(tmp_path / f"a/{number:03}.txt", tmp_path / f"b/deep/{name}.txt")
    moved = scan(data_config(path=tmp_path / "b"))
    assert moved.identity == first.identity
    assert [entry.content for entry in moved.entries] == [entry.content for entry in first.entries]
    (tmp_path / "b/deep/z.txt").write_text("another caption")
    assert scan(data_config(path=tmp_path / "b")).identity != first.identity
    write_folder(tmp_path / "a", 1, first=5)
    assert scan(data_config(path=tmp_path / "a")).identity != first.identity


def test_max_items_chooses_by_content(tmp_path: Path) -> None:
    path = write_folder(tmp_path, 10)
    everything = scan(data_config(path=path))
    few = scan(data_config(path=path, max_items=4))
    assert names(few) == names(everything)[:4] and few.found == 10
    assert [entry.content for entry in few.entries] == sorted(entry.content for entry in everything.entries)[:4]
    assert few.identity != everything.identity


def test_empty_and_unreadable_files_are_left_out_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    (tmp_path / "000.png").write_bytes(b"")
    (tmp_path / "001.png").unlink()
    (tmp_path / "001.png").symlink_to(tmp_path / "nowhere.png")
    found = scan(data_config(path=tmp_path))
    assert sorted(names(found)) == ["002.png", "003.png"]
    assert {item.name: item.reason for item in found.skipped} == {
        "000.png": "the file is empty",
        "001.png": "cannot be read (No such file or directory)",
    }


# The policy


BAD = [Skipped(f"{n}.png", "broken") for n in range(12)]


def test_fail_allows_no_bad_item_and_names_ten() -> None:
    apply_policy(5, [], OnBadItem.fail)
    with pytest.raises(ConfigError) as error:
        apply_policy(100, BAD, OnBadItem.fail)
    message = str(error.value)
    assert "12 items cannot be used" in message and "9.png: broken" in message and "and 2 more" in message
    assert "10.png" not in message


def test_skip_goes_on_up_to_one_half() -> None:
    apply_policy(12, BAD, OnBadItem.skip)
    with pytest.raises(ConfigError, match=r"12 of 23 items cannot be used, which is more than half:\n  0\.png: broken"):
        apply_policy(11, BAD, OnBadItem.skip)


@pytest.mark.parametrize("policy", OnBadItem)
def test_nothing_left_is_an_error_under_any_policy(policy: OnBadItem) -> None:
    with pytest.raises(ConfigError, match=r"0\.png: broken"):
        apply_policy(0, BAD[:1], policy)
    with pytest.raises(ConfigError, match="no images"):
        apply_policy(0, [], policy)


def test_images_that_cannot_be_decoded_fall_under_the_policy(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", 3)
    (path / "000.png").write_bytes(b"broken")
    ready = prepared(path, tmp_path / "cache")
    assert sorted(example.name for example in ready.training) == ["001.png", "002.png"]
    assert [str(item) for item in ready.skipped] == ["000.png: no kind of image that can be read"]
    for _ in range(2):  # from the cache as well
        with pytest.raises(ConfigError, match=r"1 item cannot be used.*\n  000\.png"):
            prepared(path, tmp_path / "cache", on_bad_item=OnBadItem.fail)
    (path / "001.png").write_bytes(b"broken too")
    with pytest.raises(ConfigError, match="2 of 3 items"):
        prepared(path, tmp_path / "cache")


# The split


def test_no_concept_is_on_both_sides(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", 30)
    for number in range(30):
        tone = ["", ", dark skin tone", ", light skin tone"][number % 3]
        (path / f"{number:03}.txt").write_text(f"job {number // 3}{tone}")
    ready = prepared(path, tmp_path / "cache", held_out=0.2)
    trained, held = ({example.concept for example in side} for side in (ready.training, ready.held_out))
    assert len(trained) == 8 and len(held) == 2 and not trained & held
    assert len(ready.training) == 24 and len(ready.held_out) == 6


def test_the_split_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", 20)
    (tmp_path / "b").mkdir()
    for number in range(20):
        for suffix in ("png", "txt"):
            shutil.copy(path / f"{number:03}.{suffix}", tmp_path / f"b/{99 - number}.{suffix}")
    sides = [prepared(tmp_path / name, tmp_path / "cache", held_out=0.2) for name in "ab"]
    for side in ("training", "held_out"):
        first, second = ([(e.content, e.caption) for e in getattr(ready, side)] for ready in sides)
        assert first == second


def test_the_same_image_is_never_on_both_sides(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", 12)
    for number in range(1, 12, 2):  # pairs of one image under two names
        (path / f"{number:03}.png").write_bytes(bytes_of(number - 1))
    ready = prepared(path, tmp_path / "cache", held_out=0.3)
    assert len(ready.held_out) == 4
    assert not {e.content for e in ready.training} & {e.content for e in ready.held_out}


def test_concepts_are_joined_through_any_chain_of_images() -> None:
    joined = join_concepts([("c", "1"), ("b", "1"), ("b", "2"), ("a", "2"), ("d", "3")])
    assert joined == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_a_share_above_zero_holds_out_one_at_least_and_never_all() -> None:
    assert len(held_out_concepts("ab", 0.01)) == 1
    assert len(held_out_concepts("ab", 0.99)) == 1
    assert held_out_concepts("a", 0.5) == set() == held_out_concepts("abc", 0)


# What training reads


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    directory = tmp_path_factory.mktemp("prepared")
    return prepared(write_folder(directory / "set", 13), directory / "cache", held_out=0.25, flip=True)


def entries_of(entries: TrainingSet) -> list[dict[str, Any]]:
    return [entries[index] for index in range(len(entries))]


def positions(entries: TrainingSet, micro_batch: int) -> list[list[int]]:
    return [batch["position"].tolist() for batch in DataLoader(entries, batch_size=micro_batch)]


def test_batches_hold_the_images_of_the_order(ready: Prepared) -> None:
    batch = next(iter(DataLoader(TrainingSet(ready, 7, 4, 8, 16), batch_size=4)))
    assert batch["mean"].shape == batch["logvar"].shape == (4, 4, 4, 4)
    assert batch["embedding"].shape == (4, 5, 3)
    assert batch["position"].tolist() == [8, 9, 10, 11] and batch["position"].dtype == torch.int64
    for row, position in enumerate(range(8, 12)):
        example = ready.training[item_at(7, position, len(ready.training))]
        either = [ready.latents.get(example.content, variant)[0] for variant in (0, 1)]
        assert any(torch.equal(batch["mean"][row], mean) for mean in either)
        assert torch.equal(batch["embedding"][row], ready.text.get(example.caption))


def test_a_run_that_resumes_reads_what_an_uninterrupted_one_reads(ready: Prepared) -> None:
    whole = entries_of(TrainingSet(ready, 7, 4, 0, 40))
    rest = entries_of(TrainingSet(ready, 7, 4, 20, 40))
    for first, second in zip(whole[20:], rest, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_micro_batches_follow_one_another_within_a_batch(ready: Prepared) -> None:
    assert positions(TrainingSet(ready, 7, 4, 4, 12), 2) == [[4, 5], [6, 7], [8, 9], [10, 11]]


def test_devices_share_each_batch(ready: Prepared) -> None:
    shares = [positions(TrainingSet(ready, 7, 4, 4, 12, rank=rank, world=2), 2) for rank in (0, 1)]
    assert shares == [[[4, 5], [8, 9]], [[6, 7], [10, 11]]]


def test_positions_between_batches_are_required(ready: Prepared) -> None:
    with pytest.raises(ValueError, match="between batches"):
        TrainingSet(ready, 7, 4, 2, 12)


def test_both_variants_are_drawn(ready: Prepared) -> None:
    entries = TrainingSet(ready, 7, 4, 0, 400)
    example = ready.training[0]
    drawn = [e for e in entries_of(entries) if torch.equal(e["embedding"], ready.text.get(example.caption))]
    means = [ready.latents.get(example.content, variant)[0] for variant in (0, 1)]
    counts = [sum(torch.equal(entry["mean"], mean) for entry in drawn) for mean in means]
    assert min(counts) > 8 and sum(counts) == len(drawn) >= 38


def test_prompts_are_encoded_beside_captions(ready: Prepared) -> None:
    assert "a prompt" in ready.text and "" in ready.text


def test_a_whole_art_set_is_split_without_leaks() -> None:
    data = data_config("twemoji", caption="{text}", held_out=0.05)
    found = scan(data)
    joined = join_concepts((entry.item.concept, entry.content) for entry in found.entries)
    held = held_out_concepts(joined.values(), 0.05)
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for entry in found.entries:
        sides[joined[entry.item.concept] in held].add(entry.content)
    assert not sides[True] & sides[False]
    assert 0.02 < len(sides[True]) / len(found.entries) < 0.1


# Repeats


def test_weights_become_the_smallest_whole_numbers() -> None:
    assert whole_repeats([1.0, 20.0, 1.0]) == [1, 20, 1]
    assert whole_repeats([20.0, 20.0]) == [1, 1] and whole_repeats([]) == []
    assert whole_repeats([1.0, 1.5, 0.5]) == [2, 3, 1]
    assert whole_repeats([2.0, 3.0]) == [2, 3]


def test_an_epoch_has_each_image_as_often_as_it_counts(tmp_path: Path) -> None:
    write_folder(tmp_path / "set/3_cat", 2)
    write_folder(tmp_path / "set/1_dog", 2, first=2)
    ready = prepared(tmp_path / "set", tmp_path / "cache")
    assert sorted((example.name[0], example.repeats) for example in ready.training) == [("1", 1)] * 2 + [("3", 3)] * 2
    entries = TrainingSet(ready, 7, 4, 0, 16)
    means = [entry["mean"] for entry in entries_of(entries)]
    for example in ready.training:
        mean = ready.latents.get(example.content)[0]
        assert sum(torch.equal(mean, other) for other in means) == 2 * example.repeats  # in two epochs of eight
    rest = entries_of(TrainingSet(ready, 7, 4, 8, 16))
    assert all(torch.equal(one["mean"], mean) for one, mean in zip(rest, means[8:], strict=True))


def test_repeats_are_a_part_of_the_identity_where_they_differ(tmp_path: Path) -> None:
    write_folder(tmp_path / "a/20_cat", 2)
    write_folder(tmp_path / "b/cat", 2)
    assert scan(data_config(path=tmp_path / "a")).identity == scan(data_config(path=tmp_path / "b")).identity
    for name in ("a/1_dog", "b/dog"):
        write_folder(tmp_path / name, 2, first=2)
    repeated, plain = (scan(data_config(path=tmp_path / name)).identity for name in "ab")
    assert repeated != plain == scan(data_config(path=tmp_path / "a", repeats="none")).identity


def test_what_cannot_be_decoded_is_left_out_before_anything_is_encoded(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "001.png").write_bytes(b"broken")
    found = scan(data_config(path=tmp_path))
    [bad] = [entry for entry in found.entries if entry.item.name == "001.png"]
    left = without(found, {bad.content: "broken"}, OnBadItem.skip)
    assert (len(left.entries), left.found, left.identity) == (2, 2, found.identity)
    assert [str(one) for one in left.skipped] == ["001.png: broken"]
    with pytest.raises(ConfigError, match="allows none"):
        without(found, {bad.content: "broken"}, OnBadItem.fail)


def test_skip_any_goes_on_with_few() -> None:
    apply_policy(1, BAD, OnBadItem.skip_any)
    with pytest.raises(ConfigError, match="none of"):
        apply_policy(0, BAD, OnBadItem.skip_any)

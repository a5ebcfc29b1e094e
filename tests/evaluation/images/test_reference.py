from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emote.config import Config, DataConfig
from emote.data.prepared import scan
from emote.data.split import held_out_concepts, join_concepts
from emote.evaluation.images.reference import bare_text, read_names, read_reference
from emote.util.errors import ConfigError
from tests.evaluation.images.drawings import blobs

WORDS = ["cat", "dog", "cook, dark skin tone", "cook", "fish", "bird", "house", "tree", "star", "sun"]


@pytest.fixture
def data(tmp_path: Path, make_config: Callable[..., Config]) -> DataConfig:
    for number, (word, image) in enumerate(zip(WORDS, blobs(len(WORDS)), strict=True)):
        image.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(word)
    config = make_config("data=folder", **{"data.path": tmp_path, "model": "mini", "data.held_out": 0.4})
    config.data.caption = "An emoji of {text}"
    return config.data


def test_the_split_is_that_of_the_run(data: DataConfig) -> None:
    reference = read_reference(data, data.caption)
    found = scan(data)
    group_of = join_concepts((entry.item.concept, entry.content) for entry in found.entries)
    held = held_out_concepts(group_of.values(), data.held_out)
    assert set(reference.held_out.concepts) == held and not held & set(reference.training.concepts)
    assert len(reference.training.images) + sum(concept in held for concept in group_of.values()) >= 9


def test_a_concept_is_drawn_by_its_shortest_name_and_once(data: DataConfig) -> None:
    names = read_names(data, data.caption)
    prompts = names.prompts(100)
    assert sorted(prompt.text for prompt in prompts) == sorted(set(WORDS) - {"cook, dark skin tone"})
    assert {prompt.caption for prompt in prompts if prompt.text == "cook"} == {"An emoji of cook"}


def test_half_of_the_prompts_are_of_held_out_concepts_where_there_are_so_many(data: DataConfig) -> None:
    names = read_names(data, data.caption)
    chosen = names.prompts(6)
    assert [prompt.held_out for prompt in chosen] == [True] * 3 + [False] * 3
    assert {prompt.concept for prompt in chosen} < {prompt.concept for prompt in names.prompts(8)}


def test_another_seed_chooses_others(data: DataConfig) -> None:
    names = read_names(data, data.caption)
    assert names.prompts(4, seed=0) != names.prompts(4, seed=3)


def test_a_set_that_keeps_nothing_back_cannot_judge(data: DataConfig) -> None:
    data.held_out = 0.0
    with pytest.raises(ConfigError, match=r"data\.held_out must leave 2 concepts"):
        read_reference(data, data.caption)


def test_the_words_of_the_template_are_no_part_of_a_name() -> None:
    assert bare_text("An emoji of cat, openmoji style", "An emoji of {text}, openmoji style") == "cat"
    assert bare_text("a fairy", "An emoji of {text}") == "a fairy"

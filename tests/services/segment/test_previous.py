from datetime import UTC, datetime

from services.contract.segment_registry import SegmentPublication, SegmentRegistry
from services.segment.previous import find_predecessor, newer_active_run


def register(*steps: str) -> SegmentRegistry:
    """A register after these runs have come: published, or not published if a `-` precedes them."""
    made = SegmentRegistry()
    for step in steps:
        run = step.removeprefix("-")
        made = made.with_run(run)
        if run == step:
            folder = f"{made.publications + 1:06d}-{run}"
            publication = SegmentPublication(segments={}, deciles={}, folder=folder, published=datetime.now(UTC), files=())
            made = made.with_publication(run, publication)
    return made


def predecessor(made: SegmentRegistry, run: str) -> str | None:
    entry = find_predecessor(made, run)
    return entry.run if entry else None


def test_a_new_run_is_compared_with_the_active_one():
    assert predecessor(register(), "new") is None
    assert predecessor(register("one", "two"), "new") == "two"
    assert predecessor(register("one", "-two"), "new") == "one"


def test_a_retry_is_compared_with_what_the_first_try_was_compared_with():
    assert predecessor(register("one", "two"), "two") == "one"
    assert predecessor(register("one"), "one") is None
    assert predecessor(register("one", "two", "-two"), "two") == "one"


def test_a_rerun_of_an_older_run_is_compared_with_the_one_before_it():
    assert predecessor(register("one", "two", "three"), "two") == "one"
    assert predecessor(register("one", "two", "three"), "one") is None


def test_an_unpublished_run_is_compared_with_the_active_one():
    assert predecessor(register("-one"), "one") is None
    assert predecessor(register("one", "-two", "three"), "two") == "three"


def test_if_the_previous_run_is_no_longer_kept_the_active_one_is_used():
    made = register("one", "two", "a", "b", "c", "d", "e")
    assert predecessor(made, "two") == "e"
    again = register("one", "two", "a", "b", "c", "d", "e", "two")
    assert predecessor(again, "two") == "e"


def test_a_run_published_again_is_the_one_before_the_next():
    assert predecessor(register("one", "two", "one"), "three") == "one"


def test_a_run_is_older_than_what_came_for_the_first_time_after_it():
    assert newer_active_run(register("one", "two"), "one") == "two"
    assert newer_active_run(register("one", "two"), "two") is None
    assert newer_active_run(register("one", "two"), "new") is None
    assert newer_active_run(register("one", "two", "one"), "two") is None
    assert newer_active_run(register("-one", "two"), "one") == "two"
    assert newer_active_run(register("one", "-two"), "one") is None

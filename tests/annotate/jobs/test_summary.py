"""Does a summary say only what is true of each network, each shard and each picture?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from annotate.jobs.summary import Summary
from annotate.model.annotator import NOT_FINITE
from storage import KeyedFailure

SUMMARY = Summary(
    pictures=9,
    labelled=0,
    failures=(),
    given_up=((range(9), "the worker died"),),
    labelled_now=0,
    seconds=1.0,
    left_out=0,
    head="exact",
)


def test_the_summary_says_what_was_given_up() -> None:
    text = SUMMARY.describe()
    assert text.startswith("nothing could be labelled\n")
    assert "rows 0 to 9 were given up: the worker died" in text


def test_what_another_run_labelled_is_no_failure() -> None:
    joined = replace(SUMMARY, given_up=(), joined=9, labelled=9, tried=9)
    assert joined.describe().startswith("another run labelled 9 meanwhile\n")
    assert "another run labelled 9 more meanwhile" in replace(joined, labelled_now=3).describe()


def test_files_are_to_be_repaired_unless_it_is_the_networks_that_have_no_answer() -> None:
    broken = KeyedFailure("a.jpg", "undecodable", "the file is empty")
    unanswered = KeyedFailure("b.jpg", "refused", NOT_FINITE)
    cases = {(broken,): ["these"], (unanswered,): [], (broken, unanswered): ["the other"]}
    for failures, named in cases.items():
        text = replace(SUMMARY, failures=failures).describe()
        for which in ("these", "the other"):
            assert (f"repair or replace {which} files, then" in text) == (which in named)
        assert ("1 of them need no repair" in text) == (unanswered in failures)


@pytest.mark.parametrize("head", ["exact", "exact, exact", "exact, exact, exact"])
def test_nothing_is_said_of_heads_that_are_all_exact(head: str) -> None:
    text = replace(SUMMARY, head=head).describe()
    assert "head" not in text
    assert "network" not in text


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("approximate (7 %)", "the dense head is approximate (7 %): its mean differs that much from the network"),
        ("token head", "labels come from the network's head for tokens, whose mean need not equal the network"),
        ("own map", "labels are the network's own map"),
        ("exact by class token", "each location says what the network's class token gets from it"),
        ("approximate (7 %) by query", "the dense head is approximate (7 %): its mean differs that much from"),
        ("approximate (7 %) by query", "; each location says what the network's query gets from it"),
        ("of unknown accuracy", "the store does not say how far the dense head is from the network's own answer"),
    ],
)  # fmt: skip
def test_a_head_that_is_not_exact_has_a_sentence(head: str, expected: str) -> None:
    assert [expected in line for line in replace(SUMMARY, head=head).describe().splitlines()].count(True) == 1
    assert "network 1" not in replace(SUMMARY, head=head).describe()


def test_only_the_networks_of_an_ensemble_that_are_not_exact_are_named() -> None:
    lines = replace(SUMMARY, head="exact, approximate (24 %), token head").describe().splitlines()
    about = [line for line in lines if line.startswith("network ")]
    assert [line.partition(":")[0] for line in about] == ["network 2 of 3", "network 3 of 3"]
    assert "approximate (24 %)" in about[0]
    assert "differs" not in about[1]

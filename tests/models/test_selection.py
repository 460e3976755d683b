import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.models.selection import Selection, select

CLASSES = np.random.default_rng(1).integers(0, 7, 500)


def test_the_default_takes_every_row_in_order() -> None:
    assert Selection().takes_all
    np.testing.assert_array_equal(select(CLASSES, Selection()), np.arange(500))


def test_a_number_takes_what_the_published_extraction_takes() -> None:
    order = np.arange(500)
    np.random.seed(10)
    np.random.shuffle(order)
    np.testing.assert_array_equal(select(CLASSES, Selection(num_samples=60)), np.sort(order[:60]))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(0, 2**31),
    st.booleans(),
    st.sets(st.integers(0, 5)),
)
def test_whatever_is_asked_for_is_given_or_refused(
    classes: list[int], number: int, seed: int, balanced: bool, only: set[int]
) -> None:
    rule = Selection(number, seed, tuple(sorted(only)), balanced)
    try:
        chosen = select(classes, rule)
    except BadInput:
        fit = [c for c in classes if not only or c in only]
        counts = [fit.count(c) for c in (only or set(fit))]
        each, extra = divmod(number, max(len(counts), 1))
        enough = len(fit) >= number and (not only or only <= set(fit))
        if balanced:
            enough &= bool(counts) and min(counts) >= each and sum(c > each for c in counts) >= extra
        assert not enough
        return
    assert len(chosen) == number
    assert (np.diff(chosen) > 0).all()
    kinds = np.array(classes)[chosen]
    assert not only or set(kinds) <= only
    if balanced:
        counts = [int((kinds == c).sum()) for c in (only or set(classes))]
        assert max(counts) - min(counts) <= 1


def test_balanced_without_a_number_is_set_by_the_rarest_class() -> None:
    chosen = select([0, 0, 0, 1, 1, 2, 2, 2], Selection(balanced=True))
    assert np.bincount(np.array([0, 0, 0, 1, 1, 2, 2, 2])[chosen]).tolist() == [2, 2, 2]


def test_a_percentile_of_a_score() -> None:
    scores = np.arange(500, dtype=np.float64)
    scores[::5] = np.nan
    chosen = select(CLASSES, Selection(percentile=(90, 100)), scores)
    assert len(chosen) == 40
    assert chosen.min() >= 449
    assert not set(chosen) & set(range(0, 500, 5))


@pytest.mark.parametrize(
    ("rule", "scores", "message"),
    [
        (Selection(num_samples=501), None, "only 500 of the split's 500"),
        (Selection(classes=(900,)), None, "no sample of class 900"),
        (Selection(num_samples=7 * 80, balanced=True), None, "80 of each of 7 classes"),
        (Selection(percentile=(0, 10)), None, "name the Parquet file"),
        (Selection(percentile=(0, 10)), np.full(500, np.nan), "not one sample"),
    ],
)
def test_what_the_split_cannot_give_is_refused(rule: Selection, scores: np.ndarray | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        select(CLASSES, rule, scores)


@pytest.mark.parametrize(
    "wrong",
    [{"num_samples": 0}, {"percentile": (50, 50)}, {"percentile": (-1, 5)}, {"classes": (1000,)}, {"classes": (3, 3)}],
)
def test_rules_of_no_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Selection(**wrong)  # type: ignore[arg-type]

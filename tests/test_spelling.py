"""Suggestions for names that do not exist."""

from hypothesis import given
from hypothesis import strategies as st

from imgassets.spelling import did_you_mean, nearest

WORDS = st.text("abcdefgh_/", min_size=1, max_size=12)


@given(st.lists(WORDS, min_size=1, unique=True), st.data())
def test_a_name_that_exists_is_nearest_to_itself(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    found = nearest(name, known)
    assert found is not None
    assert found == name or found.rpartition("/")[2] == name


def test_nothing_alike_is_nothing() -> None:
    assert nearest("zzz", ["arrays"]) is None
    assert did_you_mean("zzz", ["arrays"]) == ""
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("ARAYS", ["imagenet64/arrays"]) == " Did you mean imagenet64/arrays?"

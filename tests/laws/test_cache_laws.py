"""Equal arguments of other types, where each has a parameter of its own: the usual way a function is written."""

import pytest

from resilience._cache import Cache


@pytest.mark.law(80)
@pytest.mark.parametrize("other", [1.0, True, complex(1)])
@pytest.mark.parametrize("place", [0, 1])
def test_equal_arguments_of_other_types_are_other_calls(other: object, place: int) -> None:
    @Cache(60)
    def kinds(one: object, two: object) -> list[type]:
        return [type(one), type(two)]

    arguments: tuple[object, object] = (other, 1) if place == 0 else (1, other)
    assert kinds(1, 1) == [int, int]
    assert kinds(*arguments)[place] is type(other)

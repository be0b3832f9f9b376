from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioz_stream_audio.plan import MIB, PART_SIZE_MAX, PART_SIZE_MIN, Part, Plan, choose_part_size


@given(size=st.integers(1, 10**9), part_size=st.integers(10**6, 10**8))
def test_the_parts_cover_every_byte_once_and_in_order(size: int, part_size: int) -> None:
    parts = list(Plan(size, part_size))
    assert [part.index for part in parts] == list(range(Plan(size, part_size).parts_total))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == size
    assert all(0 < part.size <= part_size for part in parts)


@given(size=st.integers(8 * MIB + 1, 2 * 1000**4), parallel=st.integers(1, 16))
def test_a_chosen_part_size_is_between_5_and_32_mib(size: int, parallel: int) -> None:
    part_size = choose_part_size(size, parallel)
    assert PART_SIZE_MIN <= part_size <= PART_SIZE_MAX
    assert part_size % MIB == 0


@pytest.mark.parametrize(
    ("size", "parallel", "part_size", "parts"),
    [
        (1, 5, 8 * MIB, 1),
        (8 * MIB, 5, 8 * MIB, 1),
        (8 * MIB + 1, 5, 5 * MIB, 2),
        (200 * MIB, 5, 10 * MIB, 20),
        (640 * MIB, 5, 32 * MIB, 20),
        (10 * 1024 * MIB, 5, 32 * MIB, 320),
        (200 * MIB, 1, 32 * MIB, 7),
    ],
)
def test_a_file_has_about_four_parts_a_connection(size: int, parallel: int, part_size: int, parts: int) -> None:
    assert choose_part_size(size, parallel) == part_size
    assert Plan(size, part_size).parts_total == parts


def test_a_content_range_ends_with_the_last_byte() -> None:
    assert Part(1, 5, 9, 9).content_range == "bytes 5-8/9"

"""What is done with one part of the customers, and how the parts come together again."""

import numpy as np
import pandas as pd

from services.segment.part_tasks import join, map_with_previous_ids
from services.segment.segments_csv import NOT_IN_TABLE, Members
from stagekit.workers.worker_pool import worker_pool


def told(customers: pd.DataFrame, first_row: int, previous: np.ndarray | None) -> tuple[int, int, list[int] | None]:
    return len(customers), first_row, None if previous is None else previous.tolist()


def test_every_part_is_told_where_it_begins_and_where_its_customers_were_before():
    frames = [pd.DataFrame({"A": range(length)}) for length in (3, 1, 2)]
    before = Members(np.array([1, 1, 2, NOT_IN_TABLE, 2, 1]), {})
    with worker_pool() as pool:
        held = pool.persist(lambda frame: frame, frames)
        assert map_with_previous_ids(held, told, before) == [(3, 0, [1, 1, 2]), (1, 3, [NOT_IN_TABLE]), (2, 4, [2, 1])]
        assert map_with_previous_ids(held, told, None) == [(3, 0, None), (1, 3, None), (2, 4, None)]


def test_columns_that_are_put_together_number_the_customers_of_all_parts():
    frames = [pd.DataFrame({"A": [1, 2], "B": 0}), pd.DataFrame({"A": [3], "B": 0})]
    with worker_pool() as pool:
        together = join(pool.persist(lambda frame: frame, frames), ["A"])
    pd.testing.assert_frame_equal(together, pd.DataFrame({"A": [1, 2, 3]}))

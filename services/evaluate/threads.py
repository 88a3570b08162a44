"""Compute with one thread per task, so that several tasks can share the cores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import sklearn
from joblib import cpu_count
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Run scikit-learn in this thread only and without argument checks.

    Many small calls spend more time on starting threads and on checks than on the computation. The limit of OpenMP and the
    configuration of scikit-learn apply to the calling thread, the limit of BLAS to the process.
    """
    with _controller().limit(limits=1), sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        yield


def thread_pool() -> ThreadPoolExecutor:
    """Make a pool with a thread per core that this process may use; a container's CPU limit counts."""
    return ThreadPoolExecutor(cpu_count())


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # inspects every loaded library, which takes longer than a small fit

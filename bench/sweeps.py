"""One sweep over one population, as a process that writes seconds and SSE to stdout.

`python -m bench.sweeps sample mixed 1000000 3 1`: literal or sample; a family of `populations`; the numbers of
customers and features; the seed.
"""

from __future__ import annotations

import json
import os
import sys
import time

K_VALUES = range(2, 11)


def main(strategy: str, family: str, n_customers: str, n_features: str, seed: str) -> None:
    """Sweep and write the result to stdout."""
    if strategy != "literal":
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as stages do
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    from bench.populations import draw
    from services.train.sampled_kmeans import KMeansParameters
    from services.train.sweep import sweep

    features = StandardScaler().fit_transform(draw(family, int(n_customers), int(n_features), int(seed)))
    begin = time.perf_counter()
    if strategy == "literal":
        sse = [KMeans(k, init="k-means++", n_init=10, max_iter=300, random_state=7).fit(features).inertia_ for k in K_VALUES]
    else:
        fits = sweep([features], K_VALUES, KMeansParameters(10, 300, 7), strategy=strategy)  # type: ignore[arg-type]
        sse = [fit.sse for fit in fits]
    json.dump({"seconds": time.perf_counter() - begin, "sse": sse}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

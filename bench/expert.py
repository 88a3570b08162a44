"""An expert's script for the same task: one process, Polars, K-Means on a sample, kneed; nothing is validated.

`python -m bench.expert <volume>` writes segments.csv and profile.csv below <volume>/expert/ and its centroids to stdout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
from kneed import KneeLocator
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

FEATURES = ["BALANCE", "PURCHASES", "CREDIT_LIMIT"]
SAMPLE = 100_000


def main(volume: Path) -> None:
    """Segment the customers of `data/file.csv`."""
    customers = pl.read_csv(volume / "data/file.csv").unique("CUST_ID", keep="last", maintain_order=True).drop_nulls(FEATURES)
    scaler = StandardScaler()
    scaled = scaler.fit_transform(customers[FEATURES].to_numpy())
    sample = scaler.transform(customers[FEATURES].sample(min(SAMPLE, len(customers)), seed=7).to_numpy())
    models = {k: KMeans(k, n_init=10, random_state=7).fit(sample) for k in range(2, 11)}
    quality = {k: silhouette_score(sample, model.labels_, sample_size=5_000, random_state=7) for k, model in models.items()}
    elbow = KneeLocator([*models], [model.inertia_ for model in models.values()], curve="convex", direction="decreasing").elbow
    k = int(elbow or max(quality, key=quality.__getitem__))
    segments = customers.with_columns(segment_id=pl.Series(models[k].predict(scaled)))
    profile = segments.group_by("segment_id").agg(pl.len().alias("customers"), pl.col(FEATURES).mean().name.suffix("_mean"))
    (volume / "expert").mkdir(exist_ok=True)
    segments.select("CUST_ID", "segment_id").write_csv(volume / "expert/segments.csv")
    profile.write_csv(volume / "expert/profile.csv")
    centroids = {k: model.cluster_centers_.tolist() for k, model in models.items()}
    json.dump({"k": k, "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist(), "centroids": centroids}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

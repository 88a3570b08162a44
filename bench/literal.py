"""The lab's four functions as written: they pass pickles to each other as base64, as PythonOperators do through XCom.

`python -m bench.literal extract <volume>` runs one of them as a process that reads its argument from stdin and writes its
result to stdout; `all` runs the four in one process.
"""

from __future__ import annotations

import base64
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from kneed import KneeLocator
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

FEATURES = ["BALANCE", "PURCHASES", "CREDIT_LIMIT"]
MODEL = "kmeans_custom.sav"


def extract(volume: Path) -> str:
    """Read the table and drop duplicates."""
    customers = pd.read_csv(volume / "data/file.csv")
    if "CUST_ID" in customers.columns:
        customers = customers.drop_duplicates(subset=["CUST_ID"], keep="last")
    return base64.b64encode(pickle.dumps(customers)).decode("ascii")


def transform(customers_base64: str) -> str:
    """Scale the features."""
    customers = pickle.loads(base64.b64decode(customers_base64))
    features = customers[FEATURES].dropna()
    payload = {"scaled": StandardScaler().fit_transform(features), "feature_columns": FEATURES}
    return base64.b64encode(pickle.dumps(payload)).decode("ascii")


def train(features_base64: str, volume: Path) -> dict[str, Any]:
    """Fit K-Means for every k."""
    scaled = pickle.loads(base64.b64decode(features_base64))["scaled"]
    k_values, sse = list(range(2, 11)), []
    for k in k_values:
        model = KMeans(n_clusters=k, init="k-means++", n_init=10, max_iter=300, random_state=7)
        model.fit(scaled)
        sse.append(float(model.inertia_))
    with (volume / MODEL).open("wb") as file:
        pickle.dump(model, file)
    return {"k_values": k_values, "sse": sse}


def evaluate(metrics: dict[str, Any], volume: Path) -> int:
    """Label the first customer of the test file."""
    with (volume / MODEL).open("rb") as file:
        model = pickle.load(file)
    elbow = KneeLocator(metrics["k_values"], metrics["sse"], curve="convex", direction="decreasing").elbow
    print(f"elbow: {elbow}", file=sys.stderr)
    first = pd.read_csv(volume / "data/test.csv")[FEATURES].iloc[[0]]
    return int(model.predict(first.to_numpy())[0])


def main(function: str, folder: str) -> None:
    """Run one of the functions, or all."""
    volume = Path(folder)
    match function:
        case "extract":
            sys.stdout.write(extract(volume))
        case "transform":
            sys.stdout.write(transform(sys.stdin.read()))
        case "train":
            json.dump(train(sys.stdin.read(), volume), sys.stdout)
        case "evaluate":
            print(evaluate(json.load(sys.stdin), volume))
        case "all":
            print(evaluate(train(transform(extract(volume)), volume), volume))
        case _:
            raise ValueError(f"there is no function {function}: expected extract, transform, train, evaluate or all")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The lab's DAG to the letter: four PythonOperators in Airflow's own processes, which hand each other base64 through XCom.

`bench/around.py` puts it, `literal.py` and the libraries into the containers of Airflow, and runs it beside ours.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

LAB = Path("/opt/lab")


def call(function: str, *arguments: Any) -> Any:
    sys.path += [str(LAB), *map(str, LAB.glob("venv/lib/python*/site-packages"))]
    import literal

    return getattr(literal, function)(*arguments)


with DAG(dag_id="literal_lab", schedule=None, start_date=datetime(2025, 1, 1), max_active_runs=1):
    extract = PythonOperator(task_id="extract", python_callable=call, op_args=["extract", LAB])
    transform = PythonOperator(task_id="transform", python_callable=call, op_args=["transform", extract.output])
    train = PythonOperator(task_id="train", python_callable=call, op_args=["train", transform.output, LAB])
    evaluate = PythonOperator(task_id="evaluate", python_callable=call, op_args=["evaluate", train.output, LAB])

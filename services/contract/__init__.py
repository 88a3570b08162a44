"""What the stages share: columns, settings, artifacts, results, and the preparation of customers.

It imports no data library, so that the Airflow image can import it too.
"""

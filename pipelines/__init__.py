"""Prefect flows, thin: they order what `drillcore.retrain` and `drillcore_serving` do, retry what may pass, show it.

Importing a flow does nothing: what it needs of its surroundings is settled when it runs (`running`).
"""

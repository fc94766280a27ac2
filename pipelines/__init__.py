"""Prefect flows, thin: they order what `drillcore.workflow` and `serving` do, retry what may pass, show what came out.

Importing a flow does nothing: what it needs of its surroundings is settled when it runs (`pipelines.running`).
"""

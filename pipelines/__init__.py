"""Prefect flows, thin: they order the stages of `drillcore.workflow`, retry what may pass, and show artifacts."""

"""From data to champion, stage by stage, as plain functions."""

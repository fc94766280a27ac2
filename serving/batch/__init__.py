"""Batches: folders, lists and inboxes, each input once."""

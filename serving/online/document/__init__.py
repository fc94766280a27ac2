"""The OpenAPI document: schemas, examples, its page."""

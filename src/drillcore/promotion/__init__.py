"""Whether a version may take the champion's place, and where a rollback leads. Pure: figures in, reasons out."""

"""What a batch writes: tables, and files of dense answers."""

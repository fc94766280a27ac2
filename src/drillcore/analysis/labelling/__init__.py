"""Which images a person should label next: how they are chosen, and the last choice of a version, which is kept."""

"""The checkout itself: what it lacks, what may go, what it holds."""

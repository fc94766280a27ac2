"""HTML only: what other rooms have found, as pages that need no network."""

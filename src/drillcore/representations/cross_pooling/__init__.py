"""Cross-convolutional-layer pooling: subarrays of one layer's maps, pooled by each map of the next (paper 003)."""

"""Deep belief networks: pretraining layer by layer, fine-tuning as a whole (paper 000)."""

"""Square patches of many scales, one row each (paper 001)."""

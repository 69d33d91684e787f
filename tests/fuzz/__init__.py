"""Fuzzing of decoders (`make fuzz`): mutation of recorded inputs, and the decoders by name."""

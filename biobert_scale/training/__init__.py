"""The pre-training loop on Accelerate and DeepSpeed."""

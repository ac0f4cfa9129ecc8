"""The pages on which people try images, which need a model in this process."""

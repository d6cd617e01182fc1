"""Published weights become parts: centroids, encoders, tokenizers, without running a pickle."""

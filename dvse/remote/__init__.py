"""Files behind addresses (`s3://`, `gs://`, `hf://`, `http(s)://`): reading, writing, listing."""

"""The batch job: *what* is done with inputs, partition by partition, resumable, nothing lost.

*Where* it is done (this machine's processes, or another engine) is `pipelines.engines`.
"""

"""Where a job runs: this process, this machine's processes, or another place behind one contract.

An engine moves records through a step and hands back outcomes. It knows neither shards nor
journals.
"""

"""Where inputs come from: files, folders, tars, Parquet, manifests, conversations, data sets.

A *source* lists inputs in a fixed order and says where the bytes of each lie. It never decodes
media and knows nothing of tokens: decode workers read the bytes later, in other processes.
"""

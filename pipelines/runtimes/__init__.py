"""Models for runtimes other than torch: graphs of decoder and tokenizers, proved to agree.

A target a module. What runs the result here is `dvse.onnx_graph` and `model.graph.onnx_decoder`.
"""

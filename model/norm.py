"""The norm as transformers knows it: GLM's own module, whose kernels can be exchanged."""

from transformers.models.glm.modeling_glm import GlmRMSNorm

from .plain.norm import PlainRMSNorm


class RMSNorm(PlainRMSNorm, GlmRMSNorm):
    """`PlainRMSNorm` by GLM's name of a kernel."""

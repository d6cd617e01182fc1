"""Random weights of networks that judge pictures, in the layouts that are published."""

import torch


def write_lpips(folder):
    """Write torchvision's `alexnet.pth` and LPIPS' `alex.pth`; return both paths."""
    from torchvision.models import alexnet

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        features = alexnet(weights=None).features
    tensors = features.to_empty(device="cpu").state_dict()
    for tensor in tensors.values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.05)
    torch.save({f"features.{name}": t for name, t in tensors.items()}, folder / "alexnet.pth")
    linear = {
        f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for n, width in enumerate((64, 192, 384, 256, 256))
    }
    torch.save(linear, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


def write_inception(folder):
    """Write `inception.pth`, whose features are as large as what goes in; return its path."""
    from torchvision.models.inception import Inception3

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    tensors = network.to_empty(device="cpu").state_dict()
    for name, tensor in tensors.items():
        if name.endswith("conv.weight"):
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
        else:
            tensor.fill_(1 if name.endswith(("bn.weight", "running_var")) else 0)
    torch.save(tensors, folder / "inception.pth")
    return folder / "inception.pth"

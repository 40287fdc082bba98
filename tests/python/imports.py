"""Writes ResNets of torchvision and timm with random numbers, some images, and what PyTorch makes of them."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

try:
    import timm
except ImportError:
    timm = None
root = Path(sys.argv[1])
MEAN, DEVIATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def randomised(network: nn.Module) -> nn.Module:
    """No number is one that a fresh network has, and maps stay of one size through the blocks."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.0)
            module.bias.uniform_(-0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def outputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    logits = network(images)
    network.fc = nn.Identity()
    return {"features": network(images), "logits": logits}


def write(name: str, network: nn.Module, side: int, channels: int = 3, normalized: bool = False) -> None:
    folder = root / name
    folder.mkdir()
    randomised(network)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "weights.safetensors")
    images = torch.rand(2, channels, side, side)
    if normalized:
        # Padded with black before it is normalised, as a network is that normalises by itself.
        padded = F.pad(images, (3, 3, 3, 3))
        shown = (padded - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        network.conv1.padding = (0, 0)
    else:
        shown = images
    expected = outputs(network, shown) | {"images": images.permute(0, 2, 3, 1).contiguous()}
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")


torch.manual_seed(0)
with torch.no_grad():
    models = torchvision.models
    for side in (64, 65, 90):
        write(f"torchvision 18, {side}", models.resnet18(num_classes=7), side)
    write("torchvision 34", models.resnet34(num_classes=7), 64)
    for side in (64, 75):
        write(f"torchvision 50, {side}", models.resnet50(num_classes=7), side)
    write("torchvision 50, normalized", models.resnet50(num_classes=7), 64, normalized=True)
    write("torchvision 101", models.resnet101(num_classes=7), 64)
    write("torchvision 152", models.resnet152(num_classes=7), 64)
    if timm is None:
        print("SKIPPED networks of timm: no module timm")
    else:
        write("timm 18, gray", timm.create_model("resnet18", num_classes=5, in_chans=1), 64, channels=1)
        write("timm 50", timm.create_model("resnet50", num_classes=5), 64)
        write("timm 50, squeeze", timm.create_model("seresnet50", num_classes=5), 64)

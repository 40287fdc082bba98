"""The networks of this project in PyTorch, to the last digit that float32 gives: one file, nothing but torch and safetensors.

    import simclr_resnet
    model = simclr_resnet.load("OWNER/NAME")      # or a folder with config.json and model.safetensors
    features = model.features(images)             # images: float32 [N, C, H, W] in 0..1, not normalised

From the command line, `python simclr_resnet.py SOURCE --onnx network.onnx` exports the network to ONNX, by PyTorch's own
exporter, which needs the module onnxscript.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=bias)


class MaxPoolSame(nn.Module):
    """3x3 max pool of stride 2, padded as TensorFlow does: the odd row and column stand at the end."""

    def forward(self, x: Tensor) -> Tensor:
        (above, below), (left, right) = (self.padding(size) for size in x.shape[2:])
        return F.max_pool2d(F.pad(x, (left, right, above, below), value=float("-inf")), 3, 2)

    @staticmethod
    def padding(size: int) -> tuple[int, int]:
        total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
        return total // 2, total - total // 2


class ShortcutPool(nn.Module):
    """2x2 average pool of shortcuts beside selective kernels."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # At stride 1 the mean is over the cells that exist, which repeating the last ones gives; at stride 2 zeros count.
        mode = "replicate" if self.stride == 1 else "constant"
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode=mode), 2, self.stride)


class SelectiveKernel(nn.Module):
    """Two 3x3 streams, mixed by a softmax over the two."""

    def __init__(self, width: int, stride: int, ratio: float):
        super().__init__()
        hidden = max(int(width * ratio), 32)
        self.conv, self.bn = conv(width, 2 * width, 3, stride), nn.BatchNorm2d(2 * width)
        self.fc_reduce, self.bn_reduce = conv(width, hidden, 1), nn.BatchNorm2d(hidden)
        self.fc_select = conv(hidden, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        streams = torch.stack(F.relu(self.bn(self.conv(x))).chunk(2, 1), 1)
        pooled = streams.sum(1).mean((2, 3), keepdim=True)
        logits = self.fc_select(F.relu(self.bn_reduce(self.fc_reduce(pooled))))
        return (streams * torch.stack(logits.chunk(2, 1), 1).softmax(1)).sum(1)


class SqueezeExcite(nn.Module):
    def __init__(self, width: int, outputs: int, ratio: float):
        super().__init__()
        hidden = max(int(width * ratio), 1)
        self.fc1, self.fc2 = conv(outputs, hidden, 1, bias=True), conv(hidden, outputs, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Block(nn.Module):
    def __init__(self, config: dict, inputs: int, width: int, stride: int, first: bool):
        super().__init__()
        bottleneck, sk, se = config["depth"] >= 50, config["sk_ratio"], config["se_ratio"]
        outputs = 4 * width if bottleneck else width
        if first and sk > 0:
            self.downsample = nn.Sequential(ShortcutPool(stride), conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        elif first:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Identity()
        if bottleneck:
            self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2 = SelectiveKernel(width, stride, sk) if sk > 0 else conv(width, width, 3, stride)
            self.bn2 = nn.Identity() if sk > 0 else nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        else:
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.bottleneck, self.outputs = bottleneck, outputs
        self.se = SqueezeExcite(width, outputs, se) if se > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(self.se(y) + self.downsample(x))


class ProjectionLayer(nn.Linear):
    """A linear layer without bias, and batch norm; that of the last layer has no shift."""

    def __init__(self, inputs: int, outputs: int, last: bool):
        super().__init__(inputs, outputs, bias=False)
        self.bn, self.last = nn.BatchNorm1d(outputs), last
        if last:
            del self.bn.bias
            self.bn.register_buffer("bias", torch.zeros(outputs), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(super().forward(x))
        return y if self.last else F.relu(y)


class SimClrResNet(nn.Module):
    """Encoder, projection head and, where the checkpoint has one, classifier, as `config.json` describes them."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        base, inputs = max(int(64 * config["width"] + 0.5), 1), config["in_channels"]
        imagenet = config["stem"] == "imagenet"
        if imagenet and config["sk_ratio"] > 0:
            half = max(base // 2, 1)
            self.conv1 = nn.Sequential(
                conv(inputs, half, 3, 2), nn.BatchNorm2d(half), nn.ReLU(),
                conv(half, half, 3), nn.BatchNorm2d(half), nn.ReLU(), conv(half, base, 3),
            )
        else:
            self.conv1 = conv(inputs, base, 7, 2) if imagenet else conv(inputs, base, 3)
        self.bn1 = nn.BatchNorm2d(base)
        torch_pool = config.get("max_pool") == "torch"
        self.maxpool = nn.Identity() if not imagenet else nn.MaxPool2d(3, 2, 1) if torch_pool else MaxPoolSame()
        channels = base
        for group, count in enumerate(BLOCKS[config["depth"]]):
            blocks = []
            for index in range(count):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(Block(config, channels, base << group, stride, index == 0))
                channels = blocks[-1].outputs
            setattr(self, f"layer{group + 1}", nn.Sequential(*blocks))
        widths = [channels] * config["proj_layers"] + [config["proj_dim"]]
        if not config["proj_layers"]:
            widths = [channels]
        pairs = list(zip(widths, widths[1:]))
        self.projection = nn.ModuleList(ProjectionLayer(i, o, k + 1 == len(pairs)) for k, (i, o) in enumerate(pairs))
        selector = config["proj_selector"] % (len(pairs) + 1)
        self.fc = nn.Linear(widths[selector], config["classes"]) if config["classes"] else None

    def features(self, x: Tensor) -> Tensor:
        """Pooled features [N, D] of images [N, C, H, W] in 0..1."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    def project(self, features: Tensor, layer: int = -1) -> Tensor:
        """Output of a layer of the projection head: 0 for the features themselves, -1 for the last."""
        for module in self.projection[: layer % (len(self.projection) + 1)]:
            features = module(features)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or features where there is no classifier."""
        features = self.features(x)
        if self.fc is None:
            return features
        return self.fc(self.project(features, self.config["proj_selector"]))


def load(source: str, revision: str | None = None) -> SimClrResNet:
    """The network of a folder with `config.json` and `model.safetensors`, or of a repository of the hub."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download

        # The weights come from the commit that the first download met.
        found = Path(hf_hub_download(source, "config.json", revision=revision))
        folder = found.parent
        hf_hub_download(source, "model.safetensors", revision=folder.name)
    model = SimClrResNet(json.loads((folder / "config.json").read_text()))
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{source}: missing tensors {missing}, unexpected tensors {unexpected}")
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports a checkpoint to ONNX.")
    parser.add_argument("source", help="a folder with config.json and model.safetensors, or OWNER/NAME on the hub")
    parser.add_argument("--onnx", required=True, metavar="FILE", help="the file that is written")
    args = parser.parse_args()
    model = load(args.source)
    side, channels = model.config["image_size"], model.config["in_channels"]
    # The number of images is free; their size is not, because the max pool's padding follows from it.
    example, output = torch.zeros(2, channels, side, side), "logits" if model.fc is not None else "features"
    # One file cannot be larger than 2 GB: the weights of such networks stand beside it.
    large = sum(p.numel() * p.element_size() for p in model.parameters()) > 1_900_000_000
    torch.onnx.export(
        model, (example,), args.onnx, input_names=["images"], output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("n")},), dynamo=True, external_data=large, verbose=False,
    )
    print(f"wrote {args.onnx}: images [n, {channels}, {side}, {side}] in 0..1 -> {output}")


if __name__ == "__main__":
    main()

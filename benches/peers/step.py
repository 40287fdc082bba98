"""One SimCLR training step in PyTorch: the counterpart of `simclr-bench step`, channels last, on a CPU or a GPU.

The network, the three-layer projection head, the loss and the optimiser do what this project's do; inputs are ready
made, and the median of the measured steps counts. The last line that is printed is JSON.
"""

import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3),
}
CIFAR_SIDE = 32
TEMPERATURE = 0.1
LEARNING_RATE, MOMENTUM, DECAY, TRUST = 0.1, 0.9, 1e-4, 0.001
WARM_UP = 2


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)


def conv_bn(inputs, outputs, kernel, stride=1, relu=True):
    layers = [conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class SelectiveKernel(nn.Module):
    """Two 3x3 streams, mixed by a softmax over what the pooled sum of both says."""

    def __init__(self, width, stride, ratio):
        super().__init__()
        hidden = max(int(width * ratio), 32)
        self.streams = conv_bn(width, 2 * width, 3, stride)
        self.reduce = conv_bn(width, hidden, 1)
        self.select = conv(hidden, 2 * width, 1)

    def forward(self, x):
        first, second = self.streams(x).chunk(2, dim=1)
        pooled = (first + second).mean((2, 3), keepdim=True)
        share = self.select(self.reduce(pooled)).unflatten(1, (2, -1)).softmax(1)
        return first * share[:, 0] + second * share[:, 1]


class Block(nn.Module):
    """Basic or bottleneck residual block; pools before the projection of its shortcut where kernels are selective."""

    def __init__(self, inputs, width, stride, bottleneck, ratio, projects):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        self.shortcut = nn.Identity()
        if projects:
            pooled = ratio > 0
            layers = [conv_bn(inputs, outputs, 1, 1 if pooled else stride, relu=False)]
            if pooled:
                layers = [nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, stride), *layers]
            self.shortcut = nn.Sequential(*layers)
        if bottleneck:
            middle = SelectiveKernel(width, stride, ratio) if ratio > 0 else conv_bn(width, width, 3, stride)
            self.main = nn.Sequential(conv_bn(inputs, width, 1), middle, conv_bn(width, outputs, 1, relu=False))
        else:
            self.main = nn.Sequential(conv_bn(inputs, width, 3, stride), conv_bn(width, outputs, 3, relu=False))
        nn.init.zeros_(self.main[-1][1].weight)

    def forward(self, x):
        return F.relu(self.main(x) + self.shortcut(x), inplace=True)


class Network(nn.Module):
    """A ResNet and its projection head."""

    def __init__(self, depth, width, ratio, image_size):
        super().__init__()
        base = max(round(64 * width), 1)
        if image_size <= CIFAR_SIDE:
            layers = [conv_bn(3, base, 3)]
        elif ratio > 0:
            half = max(base // 2, 1)
            layers = [conv_bn(3, half, 3, 2), conv_bn(half, half, 3), conv_bn(half, base, 3), nn.MaxPool2d(3, 2, 1)]
        else:
            layers = [conv_bn(3, base, 7, 2), nn.MaxPool2d(3, 2, 1)]
        channels, bottleneck = base, depth >= 50
        for group, count in enumerate(BLOCKS[depth]):
            for i in range(count):
                stride = 2 if group > 0 and i == 0 else 1
                layers.append(Block(channels, base << group, stride, bottleneck, ratio, i == 0))
                channels = (base << group) * (4 if bottleneck else 1)
        self.encoder = nn.Sequential(*layers)
        head = []
        for outputs in (channels, channels):
            head += [nn.Linear(channels, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*head, nn.Linear(channels, 128, bias=False), nn.BatchNorm1d(128))

    def forward(self, images):
        return self.head(self.encoder(images).mean((2, 3)))


def nt_xent(hidden):
    """Normalised temperature-scaled cross entropy; rows i and i + half are two views of one image."""
    rows = F.normalize(hidden.float(), dim=1)
    count = len(rows)
    logits = rows @ rows.T / TEMPERATURE
    logits = logits.masked_fill(torch.eye(count, dtype=torch.bool, device=rows.device), float("-inf"))
    return F.cross_entropy(logits, torch.arange(count, device=rows.device).roll(count // 2))


@torch.no_grad()
def lars(parameters, velocities):
    """One parameter after the other, which is fastest on a CPU."""
    for weight, velocity in zip(parameters, velocities):
        update, rate = weight.grad, LEARNING_RATE
        if weight.ndim > 1:
            update = update.add(weight, alpha=DECAY)
            ours, theirs = weight.norm().item(), update.norm().item()
            rate *= TRUST * ours / theirs if ours > 0 and theirs > 0 else 1.0
        velocity.mul_(MOMENTUM).add_(update, alpha=rate)
        weight.sub_(velocity)
        weight.grad = None


@torch.no_grad()
def lars_at_once(parameters, velocities):
    """The same over all parameters at once, with no wait for the GPU."""
    matrices = [w for w in parameters if w.ndim > 1]
    torch._foreach_add_([w.grad for w in matrices], matrices, alpha=DECAY)
    ours = torch.stack(torch._foreach_norm(matrices))
    theirs = torch.stack(torch._foreach_norm([w.grad for w in matrices]))
    trust = torch.where((ours > 0) & (theirs > 0), TRUST * ours / theirs, 1.0)
    torch._foreach_mul_([w.grad for w in matrices], list(trust.unbind()))
    torch._foreach_mul_(velocities, MOMENTUM)
    torch._foreach_add_(velocities, [w.grad for w in parameters], alpha=LEARNING_RATE)
    torch._foreach_sub_(parameters, velocities)
    for weight in parameters:
        weight.grad = None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=18, choices=sorted(BLOCKS))
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--sk", type=float, default=0.0)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="the network and the loss by torch.compile")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, default=5)
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    gpu = a.device == "cuda"
    network = Network(a.depth, a.width, a.sk, a.image_size).to(a.device, memory_format=torch.channels_last)
    images = torch.rand(2 * a.batch, 3, a.image_size, a.image_size, device=a.device)
    images = images.to(memory_format=torch.channels_last)

    def loss_of(images):
        with torch.autocast(a.device, torch.bfloat16, enabled=a.dtype == "bf16"):
            hidden = network(images)
        return nt_xent(hidden)

    if a.compile:
        loss_of = torch.compile(loss_of)
    update = lars_at_once if gpu else lars
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]

    def step():
        loss = loss_of(images)
        loss.backward()
        update(parameters, velocities)
        value = loss.item()
        if gpu:
            torch.cuda.synchronize()
        return value

    seconds = []
    for i in range(WARM_UP + max(a.steps, 1)):
        start = time.perf_counter()
        loss = step()
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    median = sorted(seconds)[len(seconds) // 2]
    print(json.dumps({
        "bench": "step", "device": torch.cuda.get_device_name() if gpu else "cpu", "compiled": a.compile,
        "mode": a.dtype, "depth": a.depth, "width": a.width, "sk": a.sk, "image_size": a.image_size,
        "batch": a.batch, "threads": torch.get_num_threads(), "steps": a.steps, "loss": loss,
        "step_ms": median * 1e3, "images_per_s": a.batch / median,
        "peak_gpu_mib": torch.cuda.max_memory_allocated() // 2**20 if gpu else None,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()

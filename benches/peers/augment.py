"""SimCLR's two views of an image by torchvision: the counterpart of `simclr-bench augment`.

Views larger than 32 pixels are made from JPEG files of 500x375 in memory, each decoded once for its two views; smaller
ones from raw 32x32 pictures. The last line that is printed is JSON: source images a second.
"""

import argparse
import io
import json
import time

import numpy
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

SMALL = 32
SOURCES = 32


def picture(height, width, seed):
    """Smooth waves of every colour with a little noise on top."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.arange(height)[:, None, None], numpy.arange(width)[None, :, None]
    across, down, phase = random.uniform(5, 40, 3), random.uniform(5, 40, 3), numpy.arange(3)
    waves = 127 + 90 * numpy.sin(x / across + phase) * numpy.cos(y / down + phase)
    noisy = waves + random.normal(0, 6, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8))


def as_file(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def recipe(size):
    large = size > SMALL
    strength = 1.0 if large else 0.5
    jitter = v2.ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    steps = [
        v2.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([jitter], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if large:
        steps.append(v2.RandomApply([v2.GaussianBlur(size // 10 // 2 * 2 + 1, (0.1, 2.0))], p=0.5))
    return v2.Compose([*steps, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    large = a.image_size > SMALL
    sources = [picture(375, 500, i) if large else picture(SMALL, SMALL, i) for i in range(min(SOURCES, a.count))]
    if large:
        sources = [as_file(image) for image in sources]
    view = recipe(a.image_size)

    def run(count):
        for i in range(count):
            source = sources[i % len(sources)]
            image = Image.open(io.BytesIO(source)).convert("RGB") if large else source
            view(image), view(image)

    run(-(-a.count // 10))
    start = time.perf_counter()
    run(a.count)
    rate = a.count / (time.perf_counter() - start)
    print(json.dumps({
        "bench": "augment", "image_size": a.image_size, "count": a.count, "threads": a.threads, "images_per_s": rate,
        "us_per_view": 1e6 / rate / 2, "torchvision": torchvision.__version__,
    }))


if __name__ == "__main__":
    main()

"""One line each, from the hub of the tests: timm and simclr_resnet.py give the outputs that the Rust network gave."""

import sys
from pathlib import Path

import timm
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

repo, expected = sys.argv[1], load_file(sys.argv[2])
images = expected["images"].permute(0, 3, 1, 2).contiguous()
want = expected["logits"]
with torch.no_grad():
    network = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
    plain = network(images)
    network.maxpool = timm.layers.create_pool2d("max", 3, stride=2, padding="same")
    folder = Path(snapshot_download(repo))
    # As the card says: the module that was published beside the weights.
    sys.path.insert(0, str(folder))
    import simclr_resnet

    model = simclr_resnet.load(repo)
    for name, got in [("timm", network(images)), ("simclr_resnet.py", model(images))]:
        error = float((got - want).abs().max() / want.abs().max())
        print(f"{name}: {error:.1e} of the largest value")
        assert error <= 1e-4, name
    # The card says that without the second line outputs are close but not equal: it must stay true.
    error = float((plain - want).abs().max() / want.abs().max())
    print(f"timm as it comes: {error:.1e} of the largest value")
    assert error > 1e-4, "the card's second line is not needed"
    try:
        import torchvision
    except ImportError:
        print("SKIPPED torchvision: no module torchvision")
        sys.exit()
    state = load_file(folder / "model.safetensors")
    network = torchvision.models.resnet50(num_classes=want.shape[1])
    keys = network.load_state_dict({k: v for k, v in state.items() if not k.startswith("projection.")}, strict=False)
    assert not keys.unexpected_keys and all(k.endswith("num_batches_tracked") for k in keys.missing_keys), keys
    pad = torch.nn.ConstantPad2d((0, 1, 0, 1), float("-inf"))
    network.maxpool = torch.nn.Sequential(pad, torch.nn.MaxPool2d(3, stride=2))
    error = float((network.eval()(images) - want).abs().max() / want.abs().max())
    print(f"torchvision: {error:.1e} of the largest value")
    assert error <= 1e-4, "torchvision"

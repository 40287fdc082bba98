"""Holds simclr_resnet.py and timm against the outputs that the Rust networks gave: a folder of folders, one a network."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

root, module = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(module.parent))
import simclr_resnet  # noqa: E402

try:
    import timm
except ImportError:
    timm = None
TOLERANCE = 1e-4
failures = []


def compare(name: str, got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape, f"{name}: {tuple(got.shape)}, expected {tuple(want.shape)}"
    error = float((got - want).abs().max() / want.abs().max())
    print(f"{name}: {error:.1e} of the largest value")
    if not error <= TOLERANCE:
        failures.append(name)


torch.manual_seed(0)
with torch.no_grad():
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        expected = load_file(folder / "expected.safetensors")
        images = expected["images"].permute(0, 3, 1, 2).contiguous()
        model = simclr_resnet.load(str(folder))
        compare(f"{folder.name} features", model.features(images), expected["features"])
        compare(f"{folder.name} projection", model.project(model.features(images)), expected["projection"])
        compare(f"{folder.name} outputs", model(images), expected.get("logits", expected["features"]))
        config = json.loads((folder / "config.json").read_text())
        if "architecture" not in config:
            continue
        if timm is None:
            print(f"SKIPPED {folder.name} in timm: no module timm")
            continue
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        network.maxpool = timm.layers.create_pool2d("max", 3, stride=2, padding="same")
        on_features = config["classes"] > 0 and config["proj_selector"] == 0
        compare(f"{folder.name} in timm", network(images), expected["logits" if on_features else "features"])
        data = timm.data.resolve_model_data_config(network)
        assert set(data["mean"]) == {0.0} and set(data["std"]) == {1.0}, data
        assert tuple(data["input_size"]) == tuple(images.shape[1:]), data
    if importlib.util.find_spec("onnxscript") and importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        folder, file = root / "50 all", root / "network.onnx"
        subprocess.run([sys.executable, module, folder, "--onnx", file], check=True)
        expected = load_file(folder / "expected.safetensors")
        images = expected["images"].permute(0, 3, 1, 2).contiguous()
        # Three images: another number than that of the export.
        images = torch.cat([images, images[:1]])
        got = onnxruntime.InferenceSession(file).run(None, {"images": images.numpy()})[0]
        want = torch.cat([expected["logits"], expected["logits"][:1]])
        compare("50 all in ONNX", torch.from_numpy(got), want)
    else:
        print("SKIPPED the export to ONNX: no modules onnxscript, onnxruntime")
if failures:
    sys.exit(f"more than {TOLERANCE} apart: {', '.join(failures)}")

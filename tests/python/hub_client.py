"""The hub's official Python client against the hub of the tests: what it uploads and downloads, and what was published."""

import os
import sys
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

published, weights = sys.argv[1], Path(sys.argv[2])
api = HfApi()
assert api.whoami()["name"] == "me"

# The same upload and download that publishing does, by the client that defines what a hub is.
folder = Path("sent")
folder.mkdir()
(folder / "model.safetensors").write_bytes(os.urandom(300_000))
(folder / "config.json").write_text('{"depth": 18}\n')
(folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Sent\n")
api.create_repo("me/sent", private=True)
first = api.upload_folder(repo_id="me/sent", folder_path=folder, commit_message="send")
api.create_branch("me/sent", branch="next")
(folder / "config.json").write_text('{"depth": 34}\n')
second = api.upload_folder(repo_id="me/sent", folder_path=folder, commit_message="again", revision="next")
assert first.oid != second.oid, "two commits"
info = api.model_info("me/sent")
assert info.private and info.sha == first.oid, info
assert sorted(api.list_repo_files("me/sent")) == [".gitattributes", "README.md", "config.json", "model.safetensors"]
large = {entry.path: entry.lfs for entry in api.list_repo_tree("me/sent")}
assert large["model.safetensors"].size == 300_000 and large["config.json"] is None, large
back = Path(snapshot_download("me/sent", revision="next"))
for file in folder.iterdir():
    assert (back / file.name).read_bytes() == file.read_bytes(), file
assert Path(hf_hub_download("me/sent", "config.json")).read_text() == '{"depth": 18}\n'
for error, request in [
    (RepositoryNotFoundError, lambda: hf_hub_download("me/none", "config.json")),
    (RevisionNotFoundError, lambda: hf_hub_download("me/sent", "config.json", revision="none")),
    (EntryNotFoundError, lambda: hf_hub_download("me/sent", "none.json")),
    (HfHubHTTPError, lambda: api.create_repo("others/sent")),
]:
    try:
        request()
    except error:
        continue
    sys.exit(f"{error.__name__} was not raised")

# What was published from Rust.
back = Path(snapshot_download(published))
assert (back / "model.safetensors").read_bytes() == weights.read_bytes(), "the weights came back changed"
card = ModelCard.load(published)
assert card.data.license == "mit" and "simclr" in card.data.tags, card.data
results = card.data.eval_results
assert results and all(0.0 <= result.metric_value <= 1.0 for result in results), results
assert results[0].dataset_name and results[0].task_type == "image-classification", results
print("the official client agrees")

//! Shared helpers of the golden and end-to-end tests.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;

pub use simclr_core::testing::{assert_close, assert_within, device, log};

/// The folder of golden numbers: `SIMCLR_GOLDEN_DIR`, or the one of this package.
pub fn golden_dir() -> PathBuf {
    std::env::var_os("SIMCLR_GOLDEN_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")), PathBuf::from)
}

/// Names of the `.safetensors` files whose name starts with `kind`, in order.
///
/// # Panics
/// When the folder cannot be read, or holds none.
pub fn golden_files(kind: &str) -> Vec<String> {
    files(kind, ".safetensors")
}

/// The contents of the JSON files whose name starts with `kind`, in order of their names.
///
/// # Panics
/// When there is none, or one is not JSON.
pub fn golden_json(kind: &str) -> Vec<serde_json::Value> {
    let read = |name: String| {
        let path = golden_dir().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    files(kind, ".json").into_iter().map(read).collect()
}

/// The entries of the JSON files of a kind that hold lists.
///
/// # Panics
/// As [`golden_json`], and when one holds no list.
pub fn golden_list(kind: &str) -> Vec<serde_json::Value> {
    let list = |file: serde_json::Value| file.as_array().unwrap_or_else(|| panic!("{kind}: a list")).clone();
    golden_json(kind).into_iter().flat_map(list).collect()
}

fn files(kind: &str, extension: &str) -> Vec<String> {
    let dir = golden_dir();
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("golden folder {}: {e}", dir.display()));
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| n.starts_with(kind) && n.ends_with(extension))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no {kind}*{extension} in {}", dir.display());
    names
}

/// Reports that `test`, or a part of it, was skipped, and why: on stderr, and in the file that the environment's
/// `SIMCLR_SKIPPED` names, from which `cargo xtask ci` prints it.
///
/// # Panics
/// When the file cannot be written.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    let Some(path) = std::env::var_os("SIMCLR_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{test}: {why}\n").as_bytes()));
    written.unwrap_or_else(|e| panic!("{}: {e}", PathBuf::from(&path).display()));
}

/// Shape and numbers of a stored tensor.
pub type Stored = (Vec<usize>, Vec<f32>);

/// A golden safetensors file.
pub struct Golden {
    /// Its metadata.
    pub metadata: HashMap<String, String>,
    tensors: BTreeMap<String, Stored>,
}

impl Golden {
    /// Reads `name` of the golden folder; whole numbers become `f32` too.
    ///
    /// # Panics
    /// When the file is missing or malformed.
    pub fn load(name: &str) -> Self {
        let path = golden_dir().join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let fail = |e: safetensors::SafeTensorError| -> ! { panic!("{}: {e}", path.display()) };
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| fail(e));
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap_or_else(|e| fail(e));
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let data = view.data();
            let numbers = match view.dtype() {
                safetensors::Dtype::F32 => {
                    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
                }
                safetensors::Dtype::U8 => data.iter().map(|b| f32::from(*b)).collect(),
                safetensors::Dtype::I64 => {
                    data.chunks_exact(8).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect()
                }
                other => panic!("{}: {name} has dtype {other:?}", path.display()),
            };
            tensors.insert(name, (view.shape().to_vec(), numbers));
        }
        Self { metadata: header.metadata().clone().unwrap_or_default(), tensors }
    }

    /// A tensor by name.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, name: &str) -> &Stored {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

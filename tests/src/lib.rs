//! Shared helpers of the golden and end-to-end tests.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

pub use simclr_core::testing::{assert_close, assert_within, log};

/// The folder of golden numbers: `SIMCLR_GOLDEN_DIR`, or the one of this package.
pub fn golden_dir() -> PathBuf {
    std::env::var_os("SIMCLR_GOLDEN_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden")), PathBuf::from)
}

/// Names of the `.safetensors` files whose name starts with `kind`, in order.
///
/// # Panics
/// When the folder cannot be read.
pub fn golden_files(kind: &str) -> Vec<String> {
    let dir = golden_dir();
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("golden folder {}: {e}", dir.display()));
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| n.starts_with(kind) && n.ends_with(".safetensors"))
        .collect();
    names.sort();
    names
}

/// A golden JSON file.
///
/// # Panics
/// When it is missing or not JSON.
pub fn golden_json(name: &str) -> serde_json::Value {
    let path = golden_dir().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
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

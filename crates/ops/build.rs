//! With feature `cuda`: compiles each folder's `kernel.cu` to `FOLDER.ptx`. Without it: nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of NVIDIA's libraries to link to, or of what has their names (`cargo xtask cuda-check --emulate`).
const LIBRARIES: &str = "SIMCLR_CUDA_LIBRARIES";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["NVCC", "CUDA_COMPUTE_CAP", LIBRARIES] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // The headers; and where a new folder is named first.
    println!("cargo::rerun-if-changed=src/gpu");
    println!("cargo::rerun-if-changed=src/lib.rs");
    if let Ok(folder) = std::env::var(LIBRARIES) {
        println!("cargo::rustc-link-search=native={folder}");
    }
    if let Err(problem) = kernels().and_then(|kernels| kernels.iter().try_for_each(|kernel| compile(kernel))) {
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// Each `kernel.cu` in a folder of `src`.
fn kernels() -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir("src").map_err(|e| format!("src: {e}"))?;
    let mut found: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path().join("kernel.cu"))).collect();
    found.retain(|kernel| kernel.is_file());
    Ok(found)
}

fn compile(kernel: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", kernel.display());
    let nvcc = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    // PTX of 80 serves every GPU from Ampere on; the driver translates it for the one that is there.
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let folder = kernel.parent().and_then(Path::file_name).unwrap_or_default();
    let ptx = Path::new(&std::env::var("OUT_DIR").unwrap_or_default()).join(folder).with_extension("ptx");
    let made = Command::new(&nvcc)
        .args(["--ptx", "-O3", "-std=c++17", "-Werror", "all-warnings"])
        .arg(format!("-arch=compute_{capability}"))
        .arg("-o")
        .arg(&ptx)
        .arg(kernel)
        .output();
    match made {
        Ok(made) if made.status.success() => Ok(()),
        Ok(made) => {
            Err(format!("{nvcc} does not compile {}: {}", kernel.display(), String::from_utf8_lossy(&made.stderr)))
        }
        Err(e) => Err(format!(
            "feature `cuda` needs CUDA's compiler, and {nvcc} does not start ({e}): install the CUDA toolkit, \
             or set NVCC, or build without the feature"
        )),
    }
}

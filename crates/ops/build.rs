//! With feature `cuda`: compiles the kernels to PTX. Without it: nothing.

use std::path::Path;
use std::process::Command;

/// Kernels' sources, without `.cu`.
const SOURCES: [&str; 6] = ["norm", "pool", "gate", "loss", "optimizer", "augment"];

/// The folder of the emulated GPU, where tests are to be linked to one (`cargo xtask cuda-check --emulate`).
const EMULATED: &str = "SIMCLR_EMULATED_GPU";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    for name in ["NVCC", "CUDA_COMPUTE_CAP", EMULATED] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=src/cuda");
    if let Ok(folder) = std::env::var(EMULATED) {
        println!("cargo::rustc-link-search=native={folder}");
    }
    let nvcc = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    // PTX of 80 serves every GPU from Ampere on; the driver translates it for the one that is there.
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    for source in SOURCES {
        let ptx = Path::new(&out).join(source).with_extension("ptx");
        let made = Command::new(&nvcc)
            .args(["--ptx", "-O3", "-std=c++17", "-Werror", "all-warnings"])
            .arg(format!("-arch=compute_{capability}"))
            .arg("-o")
            .arg(&ptx)
            .arg(Path::new("src/cuda").join(source).with_extension("cu"))
            .output();
        let problem = match made {
            Ok(made) if made.status.success() => continue,
            Ok(made) => format!("{nvcc} does not compile {source}.cu: {}", String::from_utf8_lossy(&made.stderr)),
            Err(e) => format!(
                "feature `cuda` needs CUDA's compiler, and {nvcc} does not start ({e}): install the CUDA toolkit, \
                 or set NVCC, or build without the feature"
            ),
        };
        for line in problem.lines() {
            println!("cargo::error={line}");
        }
        return;
    }
}

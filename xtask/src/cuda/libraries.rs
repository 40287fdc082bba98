//! Where the libraries are that a binary for CUDA asks for when it starts: the system's, a toolkit's, or PyPI's wheels.

use crate::programs::output;
use anyhow::{Result, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// NVIDIA's libraries: the name that the linker looks for, the one that a binary asks for when it starts, what the names
/// of its functions start with, and the package of PyPI that has it. Longer beginnings come first.
pub const LIBRARIES: [Library; 8] = [
    Library { linked: "libcublasLt.so", asked: "libcublasLt.so.13", start: "cublasLt", wheel: "nvidia-cublas" },
    Library { linked: "libcublas.so", asked: "libcublas.so.13", start: "cublas", wheel: "nvidia-cublas" },
    Library { linked: "libcudnn.so", asked: "libcudnn.so.9", start: "cudnn", wheel: "nvidia-cudnn-cu13" },
    Library { linked: "libcurand.so", asked: "libcurand.so.10", start: "curand", wheel: "nvidia-curand" },
    Library { linked: "libcudart.so", asked: "libcudart.so.13", start: "cuda", wheel: "nvidia-cuda-runtime" },
    Library { linked: "libnccl.so", asked: NCCL, start: "nccl", wheel: "nvidia-nccl-cu13" },
    Library { linked: "libnvrtc.so", asked: "libnvrtc.so.13", start: "nvrtc", wheel: "nvidia-cuda-nvrtc" },
    Library { linked: "libcuda.so", asked: DRIVER, start: "cu", wheel: "" },
];
/// The driver's library. No package of Python's has it.
const DRIVER: &str = "libcuda.so.1";
/// What ranks on several GPUs speak through: our binaries look for it when they make a group, not before.
const NCCL: &str = "libnccl.so.2";
/// Those that our binaries ask for: no code of ours or of candle's calls the other two.
const NEEDED: [&str; 5] = [DRIVER, "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libcudnn.so.9"];

/// One of NVIDIA's libraries.
pub struct Library {
    /// The file that a linker looks for.
    pub linked: &'static str,
    /// The file that a binary asks for.
    pub asked: &'static str,
    /// What the names of its functions start with.
    pub start: &'static str,
    /// The package of PyPI that has it.
    wheel: &'static str,
}

/// Prints the folders of NVIDIA's packages in this Python's path.
const WHEELS: &str = "import glob, os, sys
for place in sys.path: print(*glob.glob(os.path.join(place, 'nvidia', '*', 'lib')), sep='\\n')";

/// The value of `LD_LIBRARY_PATH` with which our binaries start: what it is now, and folders that hold what is missing.
///
/// # Errors
/// When a library is nowhere, with what to install.
pub fn search_path() -> Result<OsString> {
    let given: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect();
    let known: Vec<PathBuf> = known().collect();
    let folders = complete(&NEEDED, given, known.iter().cloned())?;
    // One GPU does without it; several say what is missing.
    let folders = complete(&[NCCL], folders.clone(), known.into_iter()).unwrap_or(folders);
    Ok(std::env::join_paths(folders)?)
}

/// Where else libraries may be, the likeliest first.
fn known() -> impl Iterator<Item = PathBuf> {
    let system = output("ldconfig", &["-p"]).or_else(|| output("/sbin/ldconfig", &["-p"])).unwrap_or_default();
    let listed = system.lines().filter_map(|line| Some(Path::new(line.split_once(" => ")?.1).parent()?.to_path_buf()));
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let toolkits = toolkits.chain(["/usr/local/cuda".into(), "/usr/local/cuda-13.0".into()]).map(|t| t.join("lib64"));
    let driver = ["/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib"].map(PathBuf::from);
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let wheels = output(&python, &["-c", WHEELS]).unwrap_or_default();
    let wheels: Vec<PathBuf> = wheels.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect();
    let listed: Vec<PathBuf> = listed.collect();
    listed.into_iter().chain(toolkits).chain(driver).chain(wheels)
}

/// `given`, and of `known` the first folder for each library that is in none yet.
fn complete(needed: &[&str], given: Vec<PathBuf>, known: impl Iterator<Item = PathBuf>) -> Result<Vec<PathBuf>> {
    let (mut folders, known) = (given, known.collect::<Vec<_>>());
    let mut missing = Vec::new();
    for library in needed {
        let has = |folder: &&PathBuf| folder.join(library).is_file();
        if folders.iter().any(|folder| has(&folder)) {
            continue;
        }
        match known.iter().find(has) {
            Some(folder) => folders.push(folder.clone()),
            None => missing.push(*library),
        }
    }
    let advice = |library: &&str| match LIBRARIES.iter().find(|l| l.asked == *library) {
        Some(l) if !l.wheel.is_empty() => format!("{library} (pip install {})", l.wheel),
        _ => format!("{library} (comes with NVIDIA's driver)"),
    };
    ensure!(
        missing.is_empty(),
        "not found: {}; install CUDA 13 with cuDNN 9, or name their folders in LD_LIBRARY_PATH",
        missing.iter().map(advice).collect::<Vec<_>>().join(", ")
    );
    Ok(folders)
}

/// The library of NVIDIA's that has a function of this name.
pub fn owner(function: &str) -> Option<&'static str> {
    LIBRARIES.iter().find(|library| function.starts_with(library.start)).map(|library| library.linked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn functions_belong_to_the_library_with_the_longest_name() {
        for (function, library) in [
            ("cuInit", "libcuda.so"),
            ("cublasCreate_v2", "libcublas.so"),
            ("cublasLtMatmul", "libcublasLt.so"),
            ("cudaMalloc", "libcudart.so"),
            ("cudnnCreate", "libcudnn.so"),
        ] {
            assert_eq!(owner(function), Some(library), "{function}");
        }
        assert_eq!(owner("emulated_launch"), None);
    }

    #[test]
    fn a_folder_is_added_for_what_is_missing_alone() {
        let folder = std::env::temp_dir().join(format!("simclr-libraries-{}", std::process::id()));
        let (a, b, c) = (folder.join("a"), folder.join("b"), folder.join("c"));
        for (place, names) in [(&a, vec!["libx.so.1"]), (&b, vec!["libx.so.1", "liby.so.2"]), (&c, vec!["libz.so"])] {
            std::fs::create_dir_all(place).unwrap();
            names.iter().for_each(|name| std::fs::write(place.join(name), "").unwrap());
        }
        let known = || [a.clone(), b.clone(), c.clone()].into_iter();
        assert_eq!(complete(&["libx.so.1", "liby.so.2"], vec![], known()).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(complete(&["libx.so.1", "liby.so.2"], vec![b.clone()], known()).unwrap(), std::slice::from_ref(&b));
        let message = complete(&["libcudnn.so.9", DRIVER], vec![], known()).unwrap_err().to_string();
        assert!(message.contains("pip install nvidia-cudnn-cu13") && message.contains("driver"), "{message}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

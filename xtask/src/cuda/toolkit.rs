//! A CUDA toolkit out of PyPI's wheels: compiler and headers, and on demand the libraries that binaries link to.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiler and headers. cudarc knows CUDA 13.0 to 13.4, and 13.0 is what the oldest driver for CUDA 13 can load.
const COMPILER: [&str; 6] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    // It reads machine code of older assemblers; there is none of 13.0.
    "nvidia-cuda-nvdisasm==13.2.78",
];
/// Libraries; cuDNN in the version that cudarc's bindings were made from.
const LIBRARIES: [&str; 4] = [
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cudnn-cu13==9.21.1.3",
];

/// PTX that every GPU from Ampere on can load.
const CAPABILITY: &str = "80";

/// Hands everything to nvcc but objects, which stay empty: candle's are of quantized models, and take minutes.
const PTX_ONLY: &str = r#"#!/bin/sh
object= out= last=
for argument; do
  [ "$argument" != -c ] || object=1
  [ "$last" != -o ] || out=$argument
  last=$argument
done
[ -n "$object" ] || exec "${0%-ptx}" "$@"
echo | "${CC:-cc}" -x c -c - -o "$out"
"#;

/// A toolkit on this machine.
pub struct Toolkit {
    folder: PathBuf,
    libraries: bool,
}

impl Toolkit {
    /// Puts it together in `folder`, unless it is there.
    ///
    /// # Errors
    /// When the machine is no Linux on x86-64, or Python's pip is missing or fails.
    pub fn assemble(folder: &Path, libraries: bool) -> Result<Self> {
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "cuda-check: the wheels of the CUDA compiler are for Linux on x86-64"
        );
        let toolkit = Self { folder: folder.into(), libraries };
        let mut wheels = COMPILER.to_vec();
        wheels.extend(LIBRARIES.iter().filter(|_| libraries));
        let (mark, wanted) = (folder.join("wheels.txt"), wheels.join("\n"));
        // More than is wanted is fine, too.
        if fs::read_to_string(&mark).is_ok_and(|found| found.starts_with(&wanted)) {
            return Ok(toolkit);
        }
        say!("fetching {} wheels into {}", wheels.len(), folder.display());
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let status = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--disable-pip-version-check"])
            .args(["--no-deps", "--no-compile", "--only-binary=:all:", "--upgrade", "--target"])
            .arg(folder)
            .args(&wheels)
            .status()
            .with_context(|| format!("starting {python}: cuda-check fetches the compiler with Python's pip"))?;
        ensure!(status.success(), "pip could not fetch the CUDA compiler; its message is above");
        toolkit.join().context("putting the wheels together")?;
        fs::write(&mark, wanted).with_context(|| format!("writing {}", mark.display()))?;
        Ok(toolkit)
    }

    /// What CUDA_HOME names.
    pub fn home(&self) -> PathBuf {
        self.folder.join("nvidia/cu13")
    }

    /// One include and one lib folder, as an installed toolkit has.
    fn join(&self) -> Result<()> {
        let home = self.home();
        link(Path::new("lib"), &home.join("lib64"))?;
        let cudnn = self.folder.join("nvidia/cudnn");
        for part in ["include", "lib"] {
            for entry in fs::read_dir(cudnn.join(part)).into_iter().flatten() {
                let path = entry?.path();
                link(&path, &home.join(part).join(path.file_name().unwrap_or_default()))?;
            }
        }
        // Wheels have libX.so.N alone; the linker looks for libX.so.
        for entry in fs::read_dir(home.join("lib"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some((stem, version)) = name.split_once(".so.")
                && !version.is_empty()
            {
                link(Path::new(&name), &home.join("lib").join(format!("{stem}.so")))?;
            }
        }
        let compiler = home.join("bin/nvcc-ptx");
        fs::write(&compiler, PTX_ONLY)?;
        let made = Command::new("chmod").arg("+x").arg(&compiler).status()?;
        ensure!(made.success(), "chmod +x {} failed", compiler.display());
        self.stub()
    }

    /// libcuda comes with the driver: to link without one, a library of functions by the same names that all fail with
    /// error 34, CUDA_ERROR_STUB_LIBRARY.
    fn stub(&self) -> Result<()> {
        let (header, folder) = (self.home().join("include/cuda.h"), self.home().join("lib/stubs"));
        fs::create_dir_all(&folder)?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut names = vec!["cuProfilerStart".to_string(), "cuProfilerStop".to_string()];
        // The header's older names, and those for a stream of each thread, come by macros.
        for names_of in ["PLAIN", "__CUDA_API_VERSION_INTERNAL", "CUDA_API_PER_THREAD_DEFAULT_STREAM"] {
            let output = Command::new(&compiler)
                .args(["-E", "-P", &format!("-D{names_of}")])
                .arg(&header)
                .output()
                .with_context(|| format!("starting {compiler}"))?;
            ensure!(output.status.success(), "{compiler} does not read {}", header.display());
            names.extend(functions(&String::from_utf8_lossy(&output.stdout)));
        }
        names.sort();
        names.dedup();
        ensure!(names.len() > 300, "only {} functions found in {}", names.len(), header.display());
        let source: String = names.iter().map(|name| format!("int {name}(void) {{ return 34; }}\n")).collect();
        let (file, library) = (folder.join("stub.c"), folder.join("libcuda.so"));
        fs::write(&file, source)?;
        let made = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o"])
            .args([&library, &file])
            .status()?;
        ensure!(made.success(), "{compiler} does not link {}", library.display());
        Ok(())
    }

    /// Sets what builds with CUDA look at.
    pub fn surround(&self, command: &mut Command) {
        let home = self.home();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([home.join("bin")].into_iter().chain(std::env::split_paths(&paths)));
        command
            .env("CUDA_HOME", &home)
            .env("CUDA_PATH", &home)
            .env("CUDA_COMPUTE_CAP", CAPABILITY)
            .env("NVCC", home.join("bin/nvcc-ptx"))
            .env("CUDAFORGE_THREADS", std::thread::available_parallelism().map_or(1, usize::from).to_string())
            .env("PATH", path.unwrap_or(paths));
        if self.libraries {
            let native = |folder: PathBuf| format!("-L native={}", folder.display());
            let flags = [native(home.join("lib")), native(home.join("lib/stubs"))].join(" ");
            // Other flags are another build of everything: it has a folder of its own.
            command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", self.folder.join("build"));
        }
    }

    /// Compiles one source with warnings as errors; the PTX.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile(&self, source: &Path) -> Result<String> {
        let mut command = Command::new(self.home().join("bin/nvcc"));
        self.surround(&mut command);
        let output = command
            .args(["--ptx", "-O3", "-std=c++17", "-Werror", "all-warnings", "-o", "-"])
            .arg(format!("-arch=compute_{CAPABILITY}"))
            .arg(source)
            .output()
            .context("starting nvcc")?;
        if !output.status.success() {
            bail!("{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&output.stderr).trim())
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Names of the form `cuSomething` before an opening parenthesis.
fn functions(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let before = |part: &str| {
        let part = part.trim_end();
        part[part.rfind(|c| !word(c)).map_or(0, |i| i + 1)..].to_string()
    };
    let ours = |name: &String| name.strip_prefix("cu").is_some_and(|n| n.starts_with(|c: char| c.is_ascii_uppercase()));
    // What stands after the last parenthesis is before none.
    let mut parts: Vec<&str> = text.split('(').collect();
    parts.pop();
    parts.into_iter().map(before).filter(ours).collect()
}

/// A symbolic link, over one that is there.
pub fn link(to: &Path, at: &Path) -> Result<()> {
    if at.is_symlink() {
        fs::remove_file(at)?;
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(to, at).with_context(|| format!("linking {}", at.display()))?;
    #[cfg(not(unix))]
    let _ = to;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_a_header() {
        let header = "CUresult cuInit(unsigned int Flags);\ntypedef void (*CUhostFn)(void *);\nint __attribute__((x)) \
                      cuMemAlloc_v2 (size_t cutoff);\nint cudaMalloc(int cuA);";
        assert_eq!(functions(header), ["cuInit", "cuMemAlloc_v2"]);
    }
}

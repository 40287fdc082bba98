//! Where the workspace is, and how its binaries are built for this machine.

use crate::cuda::libraries;
use crate::mpi::wheels::Mpi;
pub use crate::programs::output;
use crate::stages;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a pack says of itself, at its root.
pub const PACK: &str = "pack.json";
/// Its folder of programs.
pub const PROGRAMS: &str = "bin";

/// The folder that this program was packed into (`cargo xtask pack`), where it runs from one.
pub fn pack() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.parent()?;
    folder.join(PACK).is_file().then(|| folder.to_path_buf())
}

/// The workspace's root, or that of the pack.
pub fn root() -> PathBuf {
    if let Some(folder) = pack() {
        return folder;
    }
    // At run time under cargo; what was compiled in serves a binary that is started by hand.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// `path` from here, or else from the workspace's root.
pub fn find(path: &Path) -> Result<PathBuf> {
    let in_root = root().join(path);
    match (path.is_file(), in_root.is_file()) {
        (true, _) => Ok(path.to_path_buf()),
        (false, true) => Ok(in_root),
        _ => bail!("no file {}; the experiments are in {}", path.display(), root().join("configs").display()),
    }
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Whether binaries can read parquet files and talk to the Hugging Face hub. That takes nearly twice the crates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extras {
    /// Built in.
    With,
    /// Left out.
    Without,
}

/// What starts several processes of a stage, such as `mpirun -n 4` or `srun`.
pub struct Launcher {
    words: Vec<String>,
    mpi: Mpi,
}

impl Launcher {
    /// From what the user wrote.
    ///
    /// # Errors
    /// When it is empty, or there is no MPI.
    pub fn new(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split_whitespace().map(String::from).collect();
        ensure!(!words.is_empty(), "--launcher \"{line}\": expected a command such as \"mpirun -n 4\" or \"srun\"");
        Ok(Self { words, mpi: Mpi::ready(&target()?)? })
    }
}

/// Binaries of the workspace.
pub struct Binaries {
    folder: PathBuf,
    /// What starts several processes of a stage.
    launcher: Option<Launcher>,
    /// Where they find NVIDIA's libraries.
    libraries: Option<OsString>,
}

impl Binaries {
    /// Builds `packages` for `device` (`auto`, `cpu`, `cuda`, `cuda:N`), with CUDA where the machine can run it.
    ///
    /// # Errors
    /// When they do not compile, or the device is CUDA and this machine lacks what that needs.
    pub fn build(packages: &[&str], device: &str, extras: Extras) -> Result<Self> {
        Self::build_for(packages, device, extras, None)
    }

    /// As [`Binaries::build`], with MPI where stages are to be started by a launcher.
    ///
    /// # Errors
    /// As there, and when there is no MPI.
    pub fn build_for(packages: &[&str], device: &str, extras: Extras, launcher: Option<Launcher>) -> Result<Self> {
        if let Some(pack) = pack() {
            ensure!(
                extras == Extras::Without,
                "this pack reads no parquet files and downloads nothing: name files on this machine, by data.dir"
            );
            ensure!(launcher.is_none(), "--launcher: the programs of this pack were built without MPI");
            return Ok(Self { folder: pack.join(PROGRAMS), launcher, libraries: Some(libraries::search_path()?) });
        }
        let (with_cuda, reason) = choice(device)?;
        if device != "cpu" {
            eprintln!("--device {device}: {reason}");
        }
        let mut build = cargo();
        build.arg("build");
        if extras == Extras::Without {
            build.arg("--no-default-features");
        }
        for package in packages {
            build.args(["--package", package]);
        }
        if with_cuda {
            for package in packages {
                build.args(["--features", &format!("{package}/nccl")]);
            }
        }
        if let Some(launcher) = &launcher {
            launcher.mpi.surround(&mut build)?;
            for package in stages::programs().iter().filter(|stage| packages.contains(stage)) {
                build.args(["--features", &format!("{package}/mpi")]);
            }
        }
        let status = build.stdout(Stdio::null()).status().context("starting cargo")?;
        ensure!(status.success(), "the build failed; the compiler's messages are above");
        Ok(Self { folder: target()?.join("debug"), launcher, libraries: None })
    }

    /// A command that runs the stage called `name`, by the launcher where there is one.
    ///
    /// # Errors
    /// When the launcher's libraries are gone.
    pub fn stage(&self, name: &str) -> Result<Command> {
        let own = self.command(name);
        let Some(launcher) = &self.launcher else { return Ok(own) };
        let mut command = Command::new(&launcher.words[0]);
        launcher.mpi.surround(&mut command)?;
        command.args(&launcher.words[1..]).arg(own.get_program());
        Ok(command)
    }

    /// A command that runs the binary called `name`.
    ///
    /// Programs with MPI find its libraries as they do under the launcher.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
        if let Some(launcher) = &self.launcher {
            launcher.mpi.find_libraries(&mut command);
        }
        if let Some(path) = &self.libraries {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

/// Builds `package` and runs its binary `program` with these arguments.
///
/// # Errors
/// When the build or the program fails; the reason stands above then.
pub fn hand_on(package: &str, program: &str, extras: Extras, arguments: &[String]) -> Result<()> {
    let binaries = Binaries::build(&[package], "cpu", extras)?;
    let status = binaries.command(program).args(arguments).status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program} failed; the reason is above");
    Ok(())
}

/// Where a loaded NVIDIA driver tells its version.
pub const DRIVER: &str = "/proc/driver/nvidia/version";

/// Whether a run on `device` is built for CUDA, and why.
///
/// # Errors
/// As [`Binaries::build`].
pub fn choice(device: &str) -> Result<(bool, &'static str)> {
    let nvcc = Command::new(std::env::var_os("NVCC").unwrap_or_else(|| "nvcc".into())).arg("--version").output();
    let (driver, nvcc) = (Path::new(DRIVER).exists(), nvcc.is_ok_and(|o| o.status.success()));
    let with_cuda = decide(device, driver, nvcc)?;
    let reason = match (with_cuda, driver, nvcc) {
        (true, ..) => "builds for CUDA: driver and compiler are there",
        (_, false, _) => "builds for the CPU: there is no NVIDIA driver",
        (_, _, false) => "builds for the CPU: there is no nvcc, which compiles for CUDA",
        _ => "builds for the CPU",
    };
    Ok((with_cuda, reason))
}

/// Whether to build for CUDA. A CUDA binary does not start without the driver, so `auto` looks for that first.
fn decide(device: &str, driver: bool, nvcc: bool) -> Result<bool> {
    let number = device.strip_prefix("cuda:").map(str::parse::<usize>);
    match device {
        "cpu" => Ok(false),
        "auto" => Ok(driver && nvcc),
        _ if device != "cuda" && !matches!(number, Some(Ok(_))) => {
            bail!("--device {device}: must be auto, cpu, cuda or cuda:N")
        }
        _ if !driver => bail!("--device {device}: this machine has no NVIDIA driver; use --device cpu"),
        _ if !nvcc => bail!("--device {device}: there is no nvcc; install the CUDA toolkit, or use --device cpu"),
        _ => Ok(true),
    }
}

/// Cargo's target folder, wherever the user has put it.
pub fn target() -> Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version", "1", "--no-deps"]).output().context("starting cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let folder = metadata.get("target_directory").and_then(|v| v.as_str()).context("cargo metadata has no folder")?;
    Ok(folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_is_built_only_where_it_runs() {
        assert!(matches!(decide("auto", true, true), Ok(true)));
        for (device, driver, nvcc) in [("cpu", true, true), ("auto", false, true), ("auto", true, false)] {
            assert!(matches!(decide(device, driver, nvcc), Ok(false)), "{device} {driver} {nvcc}");
        }
        let message = |device, driver, nvcc| decide(device, driver, nvcc).err().map(|e| e.to_string());
        assert!(message("cuda", true, false).is_some_and(|m| m.contains("nvcc")));
        assert!(message("cuda", false, true).is_some_and(|m| m.contains("driver")));
        assert!(message("cuda:x", true, true).is_some_and(|m| m.contains("must be auto")));
    }

    #[test]
    fn a_missing_config_names_the_folder() {
        let message = find(Path::new("no-such-file.toml")).err().map(|e| e.to_string());
        assert!(message.is_some_and(|m| m.contains("no-such-file.toml") && m.contains("configs")));
    }
}

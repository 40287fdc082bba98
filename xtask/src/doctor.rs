//! `doctor`: what this machine has, what a run would use of it, and what to install.

mod ptx;

use crate::workspace::{self, output};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Folders where datasets are looked for beside those that a config names.
const DATASETS: [(&str, &str); 2] = [
    ("Fashion-MNIST", "/usr/share/datasets/fashion-mnist"),
    ("files of the Hugging Face hub", "~/.cache/huggingface/hub"),
];

/// Prints one line for each thing, and what to do where one is missing.
///
/// # Errors
/// When the package's own files cannot be read.
pub fn run() -> Result<()> {
    let show = |name: &str, found: Option<String>, missing: &str| {
        say!("{name:<14}{}", found.unwrap_or_else(|| format!("not found: {missing}")));
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    show("processor", Some(format!("{cores} threads, {}", vector_units())), "");
    show("memory", memory(), "/proc/meminfo is not there");
    show("disk", first_line("df", &["-h", "--output=avail,target", "."], 1), "`df` does not tell");
    show("C compiler", first_line("cc", &["--version"], 0), "install gcc or clang; the build needs it");
    show("C++ compiler", first_line("c++", &["--version"], 0), "install g++; the tests need it");
    let gpus = output("nvidia-smi", &["--query-gpu=index,name,memory.total,compute_cap", "--format=csv,noheader"]);
    let (driver, nvcc) = (driver(), output("nvcc", &["--version"]));
    let needs = ptx::verdict(nvcc.as_deref(), driver.as_deref());
    show("driver", driver, "install NVIDIA's driver (R580 or newer) to compute on a GPU");
    show("GPU", gpus.map(|g| g.replace('\n', "; ")), "nvidia-smi lists none");
    let build = nvcc.and_then(|text| text.lines().last().map(|l| l.trim().into()));
    show("nvcc", build, "install the CUDA toolkit 13.0 to build for a GPU");
    show("kernels", Some(needs), "");
    show("cuDNN", cudnn(), "install cuDNN 9 beside the toolkit; convolutions on a GPU need it");
    let mpi = "install Debian's openmpi-bin, libopenmpi-dev and libclang-dev to train on processes (mpirun)";
    show("MPI", first_line("mpirun", &["--version"], 0), mpi);
    for (name, place) in DATASETS {
        let path = home(place);
        show("data", path.is_dir().then(|| format!("{name} in {}", path.display())), &format!("{name} in {place}"));
    }
    say!("\n--device auto  {}", workspace::choice("auto")?.1);
    Ok(())
}

fn first_line(program: &str, args: &[&str], line: usize) -> Option<String> {
    output(program, args)?.lines().nth(line).map(|l| l.trim().into())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The vector units that kernels can run on here, the widest first, as `simclr_ops` looks for them.
pub fn units() -> Vec<&'static str> {
    let mut units = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let wide = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
        units.extend((wide && has!("fma")).then_some("avx512"));
        units.extend((has!("avx2") && has!("fma")).then_some("avx2"));
    }
    units.extend(cfg!(target_arch = "aarch64").then_some("neon"));
    units.push("portable");
    units
}

/// What kernels run on, and what multiplies bf16.
fn vector_units() -> String {
    let units = units();
    let forced = std::env::var("SIMCLR_SIMD").ok().filter(|unit| !unit.is_empty());
    let used = match &forced {
        Some(unit) if units.contains(&unit.as_str()) => format!("vectors of {unit}, as SIMCLR_SIMD says"),
        Some(unit) => format!("SIMCLR_SIMD={unit} is not here; it may be {}", units.join(", ")),
        None => format!("vectors of {}", units[0]),
    };
    let flags = read("/proc/cpuinfo").unwrap_or_default();
    let multipliers = [("avx512_bf16", "AVX512-BF16"), ("amx_bf16", "AMX-BF16")];
    // They go with AVX-512: a run that is held to another unit computes in f32.
    let wide = forced.as_deref().unwrap_or(units[0]) == "avx512";
    let found = multipliers.into_iter().filter(|(flag, _)| wide && flags.split_whitespace().any(|f| f == *flag));
    let bf16: Vec<_> = found.map(|(_, name)| name).collect();
    format!("{used}; bf16 by {}", if bf16.is_empty() { "nothing: computed in f32".into() } else { bf16.join(", ") })
}

fn memory() -> Option<String> {
    let text = read("/proc/meminfo")?;
    let gib = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib / f64::from(1 << 20))
    };
    Some(format!("{:.1} GiB, {:.1} GiB of it free", gib("MemTotal:")?, gib("MemAvailable:")?))
}

fn driver() -> Option<String> {
    let loaded = || read(workspace::DRIVER)?.lines().next().map(String::from);
    // Where containers hide the driver's file.
    loaded().or_else(|| first_line("nvidia-smi", &["--query-gpu=driver_version", "--format=csv,noheader"], 0))
}

/// cuDNN's library in a toolkit or in the system's folder.
fn cudnn() -> Option<String> {
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/usr/local/cuda", "/usr"].map(PathBuf::from);
    let folders = toolkits.chain(usual).flat_map(|t| ["lib64", "lib", "lib/x86_64-linux-gnu"].map(|l| t.join(l)));
    let found = folders.map(|f| f.join("libcudnn.so.9")).find(|p| p.exists())?;
    Some(found.display().to_string())
}

fn home(place: &str) -> PathBuf {
    match (place.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => place.into(),
    }
}

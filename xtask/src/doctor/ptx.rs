//! Which driver loads the kernels that this machine's compiler makes.

/// Releases of CUDA, with the PTX that their nvcc writes and the first branch of drivers that loads it, the newest first. A
/// driver loads PTX of its own release and of older ones, never of a newer one: there "minor version compatibility" ends.
const RELEASES: [(u32, u32, &str, u32); 10] = [
    (13, 0, "9.0", 580),
    (12, 9, "8.8", 575),
    (12, 8, "8.7", 570),
    (12, 6, "8.5", 560),
    (12, 5, "8.5", 555),
    (12, 4, "8.4", 550),
    (12, 3, "8.3", 545),
    (12, 2, "8.2", 535),
    (12, 1, "8.1", 530),
    (12, 0, "8.0", 525),
];

/// The release that `cargo xtask cuda-check` fetches, and what is said where there is no compiler.
const OURS: (u32, u32) = (13, 0);

/// Which driver the kernels need, and whether `driver` (a line of the driver's own file, or the version that nvidia-smi
/// prints) is one. `nvcc` is what `nvcc --version` prints.
pub fn verdict(nvcc: Option<&str>, driver: Option<&str>) -> String {
    let found = nvcc.and_then(release);
    let (major, minor) = found.unwrap_or(OURS);
    let of = format!("CUDA {major}.{minor}");
    let Some((_, _, ptx, branch)) = RELEASES.iter().find(|r| (r.0, r.1) == (major, minor)) else {
        let newest = RELEASES[0];
        return match (major, minor) > (newest.0, newest.1) {
            true => format!(
                "{of} writes PTX that drivers of {} ({}) do not load: take a driver that nvidia-smi shows with CUDA Version \
                 {major}.{minor} or newer, or the CUDA toolkit {}.{}",
                newest.0, newest.3, OURS.0, OURS.1
            ),
            false => {
                format!("{of} is not known here; the CUDA toolkit {}.{} is what these kernels are for", OURS.0, OURS.1)
            }
        };
    };
    let needs = format!("PTX {ptx} of {of} needs a driver of {branch} or newer");
    match driver.map(|text| (text, version(text))) {
        None => needs,
        Some((text, None)) => format!("{needs}; the version of \"{}\" is not understood", text.trim()),
        Some((_, Some((found, version)))) if found >= *branch => format!("{needs}: {version} is one"),
        Some((_, Some((found, version)))) => {
            let fitting = RELEASES.iter().find(|r| r.3 <= found).map_or_else(
                || "update the driver".into(),
                |r| format!("update the driver, or build with the CUDA toolkit {}.{} (not tried here)", r.0, r.1),
            );
            format!(
                "{needs}, and {version} is older: kernels would fail with CUDA_ERROR_UNSUPPORTED_PTX_VERSION; {fitting}"
            )
        }
    }
}

/// The release in "Cuda compilation tools, release 13.0, V13.0.88".
fn release(nvcc: &str) -> Option<(u32, u32)> {
    let text = nvcc.split_once("release ")?.1;
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The driver's branch and its version: the first word of three or two numbers with points between, such as 580.82.07.
fn version(text: &str) -> Option<(u32, &str)> {
    let is_version = |word: &&str| {
        let parts: Vec<_> = word.split('.').collect();
        (2..=3).contains(&parts.len()) && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let word = text.split_whitespace().find(is_version)?;
    Some((word.split('.').next()?.parse().ok()?, word))
}

#[cfg(test)]
mod tests {
    use super::verdict;

    const NVCC: &str = "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA Corporation\n\
        Built on Wed_Aug_20_01:58:59_PM_PDT_2025\nCuda compilation tools, release 13.0, V13.0.88\n\
        Build cuda_13.0.r13.0/compiler.36424714_0";
    const FILE: &str =
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (dvs-builder)";

    #[test]
    fn a_driver_is_held_against_the_compiler() {
        for (nvcc, driver, parts) in [
            (Some(NVCC), Some(FILE), ["PTX 9.0 of CUDA 13.0", "580 or newer: 580.82.07 is one"]),
            (Some(NVCC), Some("595.10"), ["580 or newer", "595.10 is one"]),
            (
                Some(NVCC),
                Some("550.54.15\n"),
                ["550.54.15 is older", "update the driver, or build with the CUDA toolkit 12.4"],
            ),
            (
                Some(NVCC),
                Some("470.223.02"),
                ["470.223.02 is older", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION; update the driver"],
            ),
            (Some(NVCC), None, ["PTX 9.0", "needs a driver of 580 or newer"]),
            (None, Some("575.57.08"), ["PTX 9.0 of CUDA 13.0", "575.57.08 is older"]),
            (Some("release 12.8, V12.8.93"), Some("575.57.08"), ["PTX 8.7 of CUDA 12.8", "575.57.08 is one"]),
            (Some("release 13.4, V13.4.1"), Some("580.82.07"), ["CUDA Version 13.4 or newer", "the CUDA toolkit 13.0"]),
            (Some(NVCC), Some("none"), ["580 or newer", "\"none\" is not understood"]),
        ] {
            let told = verdict(nvcc, driver);
            assert!(parts.iter().all(|part| told.contains(part)), "{driver:?}: {told}");
        }
    }
}

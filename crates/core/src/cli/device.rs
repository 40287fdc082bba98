//! Where to compute, as the command line names it.

use anyhow::{Context, Result, bail};
use candle_core::{Device, DeviceLocation};
use simclr_ops::Precision;
use std::str::FromStr;

/// A device, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best that this build and machine have.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU: the first, or a rank's own ([`DeviceChoice::of_rank`]).
    Gpu,
    /// A GPU by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Gpu),
            other => other
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl DeviceChoice {
    /// What it means for one of the ranks that share a machine, `local` of `size`, where programs see `gpus` GPUs: the ranks
    /// take them in turn.
    ///
    /// # Errors
    /// When it names one GPU for several ranks.
    pub fn of_rank(self, local: usize, size: usize, gpus: usize) -> Result<Self> {
        match self {
            Self::Cuda(n) if size > 1 => {
                bail!("--device cuda:{n}: {size} ranks on this machine cannot share one GPU; use --device cuda")
            }
            Self::Auto | Self::Gpu if gpus > 0 => Ok(Self::Cuda(local % gpus)),
            _ => Ok(self),
        }
    }

    /// The device itself; to be opened once, for tensors of two openings do not mix. A GPU may use TF32.
    ///
    /// # Errors
    /// When this build or machine cannot compute on it.
    pub fn open(self) -> Result<Device> {
        self.open_as(Precision::Tf32)
    }

    /// As [`DeviceChoice::open`], in that precision.
    ///
    /// # Errors
    /// As there.
    pub fn open_as(self, precision: Precision) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
            Self::Auto => match open_gpu(0, precision) {
                Ok(device) => Ok(device),
                Err(e) => {
                    tracing::warn!("computing on the CPU: {e:#}");
                    Ok(Device::Cpu)
                }
            },
            Self::Gpu => Self::Cuda(0).open_as(precision),
            Self::Cuda(n) => {
                let opened = open_gpu(n, precision);
                opened.with_context(|| format!("--device cuda:{n} cannot be used; use --device cpu or auto"))
            }
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(ordinal: usize, precision: Precision) -> Result<Device> {
    simclr_ops::open_gpu(ordinal, precision).with_context(|| format!("opening GPU {ordinal}"))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_ordinal: usize, _precision: Precision) -> Result<Device> {
    bail!("this build computes on the CPU only (`cargo build --features cuda` makes one for GPUs)")
}

/// What results call a device: `cpu` or `cuda:N`.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_are_named_and_refused() {
        let refused = DeviceChoice::Cuda(77).open().unwrap_err().to_string();
        assert!(refused.contains("cuda:77") && refused.contains("--device cpu"), "{refused}");
        assert_eq!(device_name(&DeviceChoice::Cpu.open().unwrap()), "cpu");
        let of_rank = |text: &str, local, size, gpus| text.parse::<DeviceChoice>().unwrap().of_rank(local, size, gpus);
        for (text, local, gpus, expected) in
            [("cuda", 1, 2, "cuda:1"), ("auto", 5, 4, "cuda:1"), ("auto", 1, 0, "auto"), ("cpu", 1, 2, "cpu")]
        {
            assert_eq!(of_rank(text, local, 6, gpus).unwrap(), expected.parse().unwrap(), "{text}");
        }
        assert_eq!(of_rank("cuda:3", 0, 1, 4).unwrap(), DeviceChoice::Cuda(3));
        let refused = of_rank("cuda:3", 0, 2, 4).unwrap_err().to_string();
        assert!(refused.contains("cuda:3") && refused.contains("--device cuda"), "{refused}");
        for wrong in ["tpu", "cuda:", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}

//! The GPUs and the links between them that estimates are of.

/// A GPU: what it does at its peak, and how much of that a training step reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// What it is called.
    pub name: &'static str,
    /// Bytes a second through its memory.
    pub bandwidth: f64,
    /// Multiplications and additions a second, dense: of TF32.
    pub tf32: f64,
    /// Of bf16.
    pub bf16: f64,
    /// Of f32 without tensor cores.
    pub f32: f64,
    /// Its memory, bytes.
    pub memory: f64,
    /// Bytes that cuDNN may use beside (ops/src/conv/gpu).
    pub workspace: f64,
    /// Bytes a second up to it: PCIe 5.
    pub pcie: f64,
    /// The share of its peaks that a whole step reaches: that of the measured ResNet-50 at 224 pixels (docs/cuda.md).
    pub reached: f64,
    /// Seconds that its host needs to launch one of a convolution's three products and what goes with it: a step takes no less than
    /// all of them. Of the measured ResNet-50 at 64 pixels, whose GPU waits for the host: 9.3 ms, 159 products (docs/cuda.md).
    pub launch: f64,
}

/// NVIDIA's H100 with SXM, by its data sheet.
pub const H100: Gpu = Gpu {
    name: "H100",
    bandwidth: 3.35e12,
    tf32: 495e12,
    bf16: 990e12,
    f32: 67e12,
    memory: 80e9,
    workspace: (1u64 << 30) as f64,
    pcie: 64e9,
    reached: 0.60,
    launch: 58e-6,
};

/// NVIDIA's H200: the same processor with faster and more memory. The one that was measured.
pub const H200: Gpu = Gpu { name: "H200", bandwidth: 4.8e12, memory: 141e9, ..H100 };

/// A way between GPUs, as a collective over it sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes a second: what nccl-tests calls bus bandwidth, for a machine's GPUs, or of one network adapter.
    pub bandwidth: f64,
    /// Seconds of a collective that is too small to fill it.
    pub latency: f64,
}

/// How GPUs are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Links {
    /// GPUs of a machine, each with a network adapter of its own.
    pub machine: usize,
    /// Within a machine.
    pub inside: Link,
    /// Between machines: of one adapter; the latency is that of two machines.
    pub between: Link,
    /// Seconds that a collective takes longer for every doubling of the machines.
    pub doubling: f64,
}

impl Links {
    /// Machines of eight GPUs with NVLink 4, an adapter of InfiniBand NDR (400 Gb/s) for each GPU between them.
    ///
    /// Bandwidth within: what a maintainer of NCCL names for its ring on H100 (NVIDIA/nccl-tests#212); NVLink SHARP reaches more.
    /// Between: 320 GB/s were seen on four machines of eight H100 with eight adapters of 400 Gb/s each (NVIDIA/nccl#1221), 40
    /// an adapter. Latency between: 47 us for all small sums on two machines of eight GPUs over NDR (NVIDIA/nccl#1244); that it
    /// grows by 12 us with each doubling, and the 15 us within a machine, are assumptions.
    pub const NVLINK_AND_NDR: Self = Self {
        machine: 8,
        inside: Link { bandwidth: 370e9, latency: 15e-6 },
        between: Link { bandwidth: 40e9, latency: 47e-6 },
        doubling: 12e-6,
    };

    /// Seconds to sum `bytes` over so many GPUs: each sends and gets them nearly twice.
    pub fn sum(&self, bytes: f64, gpus: usize) -> f64 {
        self.collective(2.0 * Self::others(gpus) * bytes, gpus)
    }

    /// Seconds until each of so many GPUs has the `bytes` of every one.
    pub fn gather(&self, bytes: f64, gpus: usize) -> f64 {
        self.collective(Self::others(gpus) * gpus as f64 * bytes, gpus)
    }

    /// The share of a ring that is not one's own.
    pub(crate) fn others(gpus: usize) -> f64 {
        (gpus as f64 - 1.0) / gpus as f64
    }

    /// Seconds for so many bytes over each GPU's link.
    fn collective(&self, bytes: f64, gpus: usize) -> f64 {
        if gpus <= 1 {
            return 0.0;
        }
        let machines = gpus.div_ceil(self.machine);
        if machines == 1 {
            return self.inside.latency + bytes / self.inside.bandwidth;
        }
        // A ring leaves the machine by all adapters at once, each with its share.
        let bandwidth = self.inside.bandwidth.min(self.between.bandwidth * self.machine as f64);
        self.between.latency + self.doubling * libm::log2(machines as f64 / 2.0) + bytes / bandwidth
    }
}

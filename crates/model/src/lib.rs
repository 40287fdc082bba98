//! ResNets with selective kernels and squeeze-excitation, and the heads upon them.

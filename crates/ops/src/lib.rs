//! Channels-last tensor operations with gradients on a small tape.
//!
//! Letters: `N` images, `H` `W` height and width, `C` channels; `O` output channels, `K` the side of a kernel;
//! `R` rows and `D` columns of a matrix. Feature maps are `[N, H, W, C]` f32 or bf16, contiguous; convolution weights are
//! `[O, K, K, C]` in memory (`[O, C, K, K]` on disk); linear weights are `[O, D]`.
//!
//! An operation is a folder: `mod.rs` has the public function, checks shapes, says what is recorded on the [`Tape`] and
//! chooses the device; `cpu.rs`, `gpu.rs` and `kernel.cu` compute, and know neither the tape nor the other device. Below
//! them stand [`tape`], which knows no operation, [`tensor`] (memory), [`simd`] (vectors) and `gpu` (devices, launches).

mod augment;
pub mod collective;
mod contrastive;
mod conv;
mod gate;
mod gpu;
mod join;
mod keys;
mod linear;
mod loss;
mod mean;
mod metrics;
mod norm;
pub mod optim;
mod pool;
mod products;
mod relu;
pub mod simd;
pub mod tape;
pub mod tensor;
#[cfg(test)]
mod testing;

pub use augment::{ColorOp, Distortion, distort};
pub use collective::Group;
pub use contrastive::{NtXent, Share, nt_xent, nt_xent_share};
pub use conv::{ConvInput, conv2d, engine_times, engines, with_rounded};
pub use gate::{sigmoid_gate, stream_select};
pub use gpu::{Precision, memory_taken};
#[cfg(feature = "cuda")]
pub use gpu::{count as gpus, open as open_gpu};
pub use join::join_views;
pub use keys::{KeyContrast, contrast_keys, unit_rows};
pub use linear::linear;
pub use loss::{cross_entropy, distillation, partial_cross_entropy, weighted_sum};
pub use mean::{global_avg_pool, stream_mean};
pub use metrics::{accuracy, mean_cosine, top_k};
pub use norm::{Fused, Moments, Normalized, Statistics, batch_norm, batch_norm_relu};
pub use pool::{PoolPadding, avg_pool2d, max_pool2d};
pub use relu::{add_relu, relu};
pub use tape::{Gradients, NodeId, Tape, Value};
pub use tensor::{Figures, Pixel, Pixels, Sent, Uploaded, Uploader};

/// The code of `docs/extending.md`, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/extending.md")]
struct Extending;

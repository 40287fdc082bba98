//! Channels-last tensor operations with gradients on a small tape.
//!
//! Letters: `N` images, `H` `W` height and width, `C` channels; `O` output channels, `K` the side of a kernel;
//! `R` rows and `D` columns of a matrix. Feature maps are `[N, H, W, C]` f32, contiguous; convolution weights are
//! `[O, K, K, C]` in memory (`[O, C, K, K]` on disk); linear weights are `[O, D]`.

/// Returns what the GPU's version of an operation gives, where a tensor is on a GPU and this build knows any.
macro_rules! on_gpu {
    ($tensor:expr, $work:expr) => {
        #[cfg(feature = "cuda")]
        if $tensor.device().is_cuda() {
            return $work;
        }
    };
}

pub mod alloc;
mod augment;
mod bridge;
mod contrastive;
mod conv;
pub mod cpu;
// Its kernels are emulated in tests, by a library that is compiled and loaded as Unix does it.
#[cfg(any(all(test, unix), feature = "cuda"))]
mod cuda;
mod gate;
mod loss;
mod metrics;
mod norm;
mod pool;
pub mod step;
mod tape;
mod upload;

pub use augment::{ColorOp, Distortion, distort};
pub use contrastive::{NtXent, Share, join_views, nt_xent, nt_xent_share};
pub use conv::{Input, Padding, Precision, conv2d, linear};
#[cfg(feature = "cuda")]
pub use cuda::gpu::open as open_gpu;
pub use gate::{add_relu, relu, sigmoid_gate, stream_mean, stream_select};
pub use loss::{cross_entropy, distillation, partial_cross_entropy, weighted_sum};
pub use metrics::{Figures, accuracy, top_k};
pub use norm::{Fused, Moments, Normalized, Statistics, batch_norm, batch_norm_relu};
pub use pool::{PoolPadding, avg_pool2d, global_avg_pool, max_pool2d};
pub use tape::{Gradients, NodeId, Tape, Value};
pub use upload::{Uploaded, Uploader};

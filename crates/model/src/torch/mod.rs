//! Import of PyTorch's weights: ResNets of torchvision and timm in safetensors files.
//!
//! Their tensors have our names. `architecture` finds the network from names and shapes, [`import`] writes the checkpoint.

mod architecture;
mod import;
mod shortcut;

pub use import::{Imported, Options, import};

//! Convolutions by cuDNN's interface before graphs: an algorithm and a math type for each product.

#![allow(unsafe_code)]

use super::handle::{Handle, Owned, checked, limits};
use super::problem::{Direction, Operands, Problem};
use crate::conv::engines::Choice;
use crate::conv::geometry::Geometry;
use crate::gpu::Precision;
use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::{DType, Error, Result};
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;

/// Most algorithms that cuDNN is asked for.
const CHOICES: usize = 10;

const ONE: f32 = 1.0;
const ZERO: f32 = 0.0;

/// An algorithm of one of the three products.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Data(sys::cudnnConvolutionBwdDataAlgo_t),
    Filter(sys::cudnnConvolutionBwdFilterAlgo_t),
}

impl Algorithm {
    fn number(self) -> u32 {
        match self {
            Self::Forward(a) => a as u32,
            Self::Data(a) => a as u32,
            Self::Filter(a) => a as u32,
        }
    }
}

/// What cuDNN proposes for a problem.
struct Answer {
    algorithm: Algorithm,
    math: sys::cudnnMathType_t,
}

/// Descriptors of one shape.
struct Shapes {
    x: Owned<sys::cudnnTensorDescriptor_t>,
    y: Owned<sys::cudnnTensorDescriptor_t>,
    w: Owned<sys::cudnnFilterDescriptor_t>,
    conv: Owned<sys::cudnnConvolutionDescriptor_t>,
}

/// One product with its algorithm, and a descriptor that has the algorithm's math type.
pub struct Plan {
    shapes: Shapes,
    algorithm: Algorithm,
    sums: bool,
    pub choice: Choice,
    pub workspace: usize,
}

/// The deterministic answers of cuDNN for one of the three products.
macro_rules! ask {
    ($algorithm:path, $ask:path, $($argument:expr),*) => {{
        let mut count: c_int = 0;
        // SAFETY: an array of C structs of plain numbers, for which all zeros are valid.
        let mut answers = [unsafe { std::mem::zeroed() }; CHOICES];
        // SAFETY: handle and descriptors are alive, and there is room for `CHOICES` answers.
        checked(unsafe { $ask($($argument,)* CHOICES as c_int, &mut count, answers.as_mut_ptr()) })?;
        let sound = answers.iter().take(usize::try_from(count).unwrap_or(0)).filter(|a| {
            a.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && a.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
        });
        sound.map(|a| Answer { algorithm: $algorithm(a.algo), math: a.mathType }).collect::<Vec<_>>()
    }};
}

impl Shapes {
    fn new(problem: &Problem, math: sys::cudnnMathType_t) -> Result<Self> {
        let Geometry { n, h, w, c, o, k, stride, before, oh, ow } = problem.g;
        let int = |v: usize| c_int::try_from(v).map_err(|_| Error::Msg(format!("cuDNN: {v} is too big")));
        let f32s = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let element = if problem.dtype == DType::BF16 { sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16 } else { f32s };
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let map = |dims: [usize; 4]| -> Result<_> {
            let dims = [int(dims[0])?, int(dims[1])?, int(dims[2])?, int(dims[3])?];
            let made = Owned(checked(result::create_tensor_descriptor())?, result::destroy_tensor_descriptor);
            // SAFETY: a descriptor that was made the line before.
            checked(unsafe { result::set_tensor4d_descriptor(made.0, format, element, dims) })?;
            Ok(made)
        };
        // Dimensions are named N, C, H, W whatever the format.
        let (x, y) = (map([n, c, h, w])?, map([n, o, oh, ow])?);
        let filter = Owned(checked(result::create_filter_descriptor())?, result::destroy_filter_descriptor);
        let conv = Owned(checked(result::create_convolution_descriptor())?, result::destroy_convolution_descriptor);
        let (dims, pad, step) = ([int(o)?, int(c)?, int(k)?, int(k)?], int(before)?, int(stride)?);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // SAFETY: descriptors that were made just before.
        checked(unsafe {
            result::set_filter4d_descriptor(filter.0, element, format, dims)
                .and_then(|()| result::set_convolution2d_descriptor(conv.0, pad, pad, step, step, 1, 1, mode, f32s))
                .and_then(|()| result::set_convolution_math_type(conv.0, math))
        })?;
        Ok(Self { x, y, w: filter, conv })
    }

    fn ask(&self, handle: sys::cudnnHandle_t, direction: Direction) -> Result<Vec<Answer>> {
        let Self { x, y, w, conv } = self;
        Ok(match direction {
            Direction::Forward => {
                let ask = result::get_convolution_forward_algorithm;
                ask!(Algorithm::Forward, ask, handle, x.0, w.0, conv.0, y.0)
            }
            Direction::Data | Direction::DataSum => {
                let ask = result::get_convolution_backward_data_algorithm;
                ask!(Algorithm::Data, ask, handle, w.0, y.0, conv.0, x.0)
            }
            Direction::Filter => {
                let ask = result::get_convolution_backward_filter_algorithm;
                ask!(Algorithm::Filter, ask, handle, x.0, y.0, conv.0, w.0)
            }
        })
    }

    /// Bytes of workspace that an algorithm needs with this descriptor's math type.
    fn workspace(&self, handle: sys::cudnnHandle_t, algorithm: Algorithm) -> Option<usize> {
        let Self { x, y, w, conv } = self;
        // SAFETY: handle and descriptors are alive.
        let bytes = unsafe {
            match algorithm {
                Algorithm::Forward(a) => {
                    result::get_convolution_forward_workspace_size(handle, x.0, w.0, conv.0, y.0, a)
                }
                Algorithm::Data(a) => {
                    result::get_convolution_backward_data_workspace_size(handle, w.0, y.0, conv.0, x.0, a)
                }
                Algorithm::Filter(a) => {
                    result::get_convolution_backward_filter_workspace_size(handle, x.0, y.0, conv.0, w.0, a)
                }
            }
        };
        bytes.ok()
    }
}

/// What cuDNN proposes, best first: deterministic and within the allowed workspace.
///
/// # Errors
/// When cuDNN does not take the shapes.
pub fn candidates(handle: &Handle, problem: &Problem) -> Result<Vec<Plan>> {
    let (exact, handle) = (problem.dtype == DType::F32 && handle.precision == Precision::Exact, handle.raw());
    let asked = match problem.dtype {
        DType::BF16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        _ if exact => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        // The default allows TF32.
        _ => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
    };
    let answers = Shapes::new(problem, asked)?.ask(handle, problem.direction)?;
    let mut plans = Vec::new();
    for Answer { algorithm, math } in answers {
        // An answer holds for its math type. Where sums are to be exact, none but FMA is taken, whatever the answer says.
        let math = if exact { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { math };
        let shapes = Shapes::new(problem, math)?;
        let Some(workspace) = shapes.workspace(handle, algorithm).filter(|bytes| *bytes <= limits().workspace) else {
            continue;
        };
        let choice = Choice::Legacy { algorithm: algorithm.number(), math: math as u32 };
        let sums = problem.direction == Direction::DataSum;
        plans.push(Plan { shapes, algorithm, sums, choice, workspace });
    }
    Ok(plans)
}

fn factor(value: &f32) -> *const c_void {
    from_ref(value).cast()
}

impl Plan {
    /// Computes the product, with at least [`Plan::workspace`] bytes at `space`.
    pub fn launch(&self, handle: sys::cudnnHandle_t, operands: Operands, space: u64) -> Result<()> {
        let Shapes { x, y, w, conv } = &self.shapes;
        let [at_x, at_w, at_y] = [operands.x, operands.w, operands.y].map(|address| address as *mut c_void);
        let (space, bytes) = (space as *mut c_void, self.workspace);
        let (one, kept) = (factor(&ONE), factor(if self.sums { &ONE } else { &ZERO }));
        // SAFETY: the operands have the shapes and elements of the descriptors, and live until their work is in the stream.
        // An output that is added to has no other owner.
        checked(unsafe {
            match self.algorithm {
                Algorithm::Forward(a) => result::convolution_forward(
                    handle, one, x.0, at_x, w.0, at_w, conv.0, a, space, bytes, kept, y.0, at_y,
                ),
                Algorithm::Data(a) => result::convolution_backward_data(
                    handle, one, w.0, at_w, y.0, at_y, conv.0, a, space, bytes, kept, x.0, at_x,
                ),
                Algorithm::Filter(a) => result::convolution_backward_filter(
                    handle, one, x.0, at_x, y.0, at_y, conv.0, a, space, bytes, kept, w.0, at_w,
                ),
            }
        })
    }
}

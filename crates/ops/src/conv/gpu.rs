//! Convolution by cuDNN, channels last: forward, gradient of the input, gradient of the weights.
//!
//! Which algorithm runs is asked of cuDNN once a shape, and kept: the first deterministic one whose workspace is within
//! bounds. The workspace is one buffer, used by one convolution after the other.

#![allow(unsafe_code)]

use super::geometry::Geometry;
use super::map::Map;
use crate::gpu::machine::Number;
use crate::gpu::{Gpu, Precision, at};
use crate::tensor::access::by_element;
use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Result, Tensor, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;
use std::rc::Rc;

/// Most bytes of workspace.
const WORKSPACE: usize = 1 << 30;
/// Most algorithms that cuDNN is asked for.
const CHOICES: usize = 10;

/// The convolution of `x` with `weight` (f32 `[O, K, K, C]`), `[N, OH, OW, O]`; no moments come back.
///
/// # Errors
/// When cuDNN has none for this shape, or memory is short.
pub fn forward(gpu: &Gpu, g: &Geometry, x: &Map, weight: &Tensor, _: bool) -> Result<(Tensor, Option<[Tensor; 2]>)> {
    let x = &x.tensor;
    by_element!(x, T => Ok((convolution::<T>(gpu, g, x, weight)?, None)))
}

/// The gradient of the input, `[N, H, W, C]`: added to `sum` where there is one, which nobody else may hold.
///
/// # Errors
/// As [`forward`].
pub fn input_gradient(gpu: &Gpu, g: &Geometry, dy: &Tensor, weight: &Tensor, sum: Option<Tensor>) -> Result<Tensor> {
    by_element!(dy, T => backward_data::<T>(gpu, g, dy, weight, sum))
}

/// The gradient of the weights, f32 `[O, K, K, C]`. From maps of bf16 it is rounded to bf16 once, after its sums in f32.
///
/// # Errors
/// As [`forward`].
pub fn weight_gradient(gpu: &Gpu, g: &Geometry, x: &Map, dy: &Tensor) -> Result<Tensor> {
    let x = &x.tensor;
    by_element!(x, T => backward_filter::<T>(gpu, g, x, dy))
}

fn checked<T>(result: std::result::Result<T, CudnnError>) -> Result<T> {
    result.map_err(|e| candle_core::Error::Msg(format!("cuDNN: {e:?}")))
}

/// An object of cuDNN with the function that frees it.
struct Owned<T: Copy>(T, unsafe fn(T) -> std::result::Result<(), CudnnError>);

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object was made by its constructor and is freed here alone. An error has nobody to go to.
        let _ = unsafe { (self.1)(self.0) };
    }
}

/// What a thread holds for one GPU.
struct Library {
    handle: Owned<sys::cudnnHandle_t>,
    precision: Precision,
    plans: RefCell<HashMap<(Geometry, DType), Rc<Plan>>>,
    workspace: RefCell<Option<CudaSlice<u8>>>,
}

/// Descriptors and algorithms of one shape.
struct Plan {
    x: Owned<sys::cudnnTensorDescriptor_t>,
    y: Owned<sys::cudnnTensorDescriptor_t>,
    w: Owned<sys::cudnnFilterDescriptor_t>,
    conv: Owned<sys::cudnnConvolutionDescriptor_t>,
    forward: (sys::cudnnConvolutionFwdAlgo_t, usize),
    data: (sys::cudnnConvolutionBwdDataAlgo_t, usize),
    filter: (sys::cudnnConvolutionBwdFilterAlgo_t, usize),
}

/// The first answer of cuDNN that is deterministic and within bounds.
macro_rules! choose {
    ($what:literal, $ask:path, $($argument:expr),*) => {{
        let mut count: c_int = 0;
        // SAFETY: an array of C structs of plain numbers, for which all zeros are valid.
        let mut answers = [unsafe { std::mem::zeroed() }; CHOICES];
        // SAFETY: handle and descriptors are alive, and there is room for `CHOICES` answers.
        checked(unsafe { $ask($($argument,)* CHOICES as c_int, &mut count, answers.as_mut_ptr()) })?;
        match answers[..count as usize].iter().find(|a| sound(a.status, a.determinism) && a.memory <= WORKSPACE) {
            Some(a) => (a.algo, a.memory),
            None => bail!("cuDNN has no deterministic {} within {} MiB of workspace", $what, WORKSPACE >> 20),
        }
    }};
}

fn sound(status: sys::cudnnStatus_t, determinism: sys::cudnnDeterminism_t) -> bool {
    status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS && determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
}

impl Plan {
    fn new(handle: sys::cudnnHandle_t, precision: Precision, g: &Geometry, dtype: DType) -> Result<Self> {
        let Geometry { n, h, w, c, o, k, stride, before, oh, ow } = *g;
        if (oh - 1) * stride + k > h + 2 * before || (ow - 1) * stride + k > w + 2 * before {
            bail!("conv2d on a GPU: a {k}x{k} kernel needs the same zeros on every side; use an odd kernel")
        }
        let int = |v: usize| c_int::try_from(v).map_err(|_| candle_core::Error::Msg(format!("cuDNN: {v} is too big")));
        let f32s = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let (element, math) = match (dtype, precision) {
            (DType::BF16, _) => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
            (DType::F32, Precision::Exact) => (f32s, sys::cudnnMathType_t::CUDNN_FMA_MATH),
            // The default allows TF32.
            (DType::F32, Precision::Tf32) => (f32s, sys::cudnnMathType_t::CUDNN_DEFAULT_MATH),
            (other, _) => bail!("conv2d on a GPU: maps of {other:?}; use f32 or bf16"),
        };
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
        let forward =
            choose!("convolution", result::get_convolution_forward_algorithm, handle, x.0, filter.0, conv.0, y.0);
        let data = choose!(
            "gradient of a convolution's input",
            result::get_convolution_backward_data_algorithm,
            handle,
            filter.0,
            y.0,
            conv.0,
            x.0
        );
        let weights = choose!(
            "gradient of a convolution's weights",
            result::get_convolution_backward_filter_algorithm,
            handle,
            x.0,
            y.0,
            conv.0,
            filter.0
        );
        Ok(Self { x, y, w: filter, conv, forward, data, filter: weights })
    }
}

/// This thread's library for a GPU: handles cannot be shared.
fn library(gpu: &Gpu) -> Result<Rc<Library>> {
    thread_local! {
        static LIBRARIES: RefCell<HashMap<DeviceId, Rc<Library>>> = RefCell::default();
    }
    LIBRARIES.with_borrow_mut(|libraries| {
        if let Some(library) = libraries.get(&gpu.0.id()) {
            return Ok(library.clone());
        }
        let handle = Owned(checked(result::create_handle())?, result::destroy_handle);
        // SAFETY: both are alive; the device keeps its stream for as long as tensors are on it.
        checked(unsafe { result::set_stream(handle.0, gpu.0.cuda_stream().cu_stream().cast()) })?;
        let library = Rc::new(Library {
            handle,
            precision: gpu.precision(),
            plans: RefCell::default(),
            workspace: RefCell::default(),
        });
        libraries.insert(gpu.0.id(), library.clone());
        Ok(library)
    })
}

impl Library {
    fn plan(&self, g: &Geometry, dtype: DType) -> Result<Rc<Plan>> {
        if let Some(plan) = self.plans.borrow().get(&(*g, dtype)) {
            return Ok(plan.clone());
        }
        let plan = Rc::new(Plan::new(self.handle.0, self.precision, g, dtype)?);
        self.plans.borrow_mut().insert((*g, dtype), plan.clone());
        Ok(plan)
    }

    /// The workspace's address, for at least so many bytes.
    fn workspace(&self, gpu: &Gpu, bytes: usize) -> Result<*mut c_void> {
        let mut kept = self.workspace.borrow_mut();
        if kept.as_ref().is_none_or(|w| w.len() < bytes) {
            // The smaller one goes first; earlier work on it is done before the memory is used again.
            *kept = None;
            // SAFETY: bytes of any value are valid, and cuDNN writes the workspace before it reads it.
            *kept = Some(unsafe { gpu.0.alloc::<u8>(bytes.max(1)) }?);
        }
        use candle_core::cuda_backend::cudarc::driver::DevicePtr;
        Ok(kept.as_ref().map_or(0, |w| w.device_ptr(&gpu.0.cuda_stream()).0) as *mut c_void)
    }
}

fn pointer<T: Number>(tensor: &Tensor) -> Result<*mut c_void> {
    Ok(at::<T>(tensor)?.0 as *mut c_void)
}

/// Weights as maps store their numbers.
fn as_maps(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    if weight.dtype() == dtype { Ok(weight.clone()) } else { weight.to_dtype(dtype) }
}

const ONE: f32 = 1.0;
const ZERO: f32 = 0.0;

fn factor(value: &f32) -> *const c_void {
    from_ref(value).cast()
}

/// The convolution of `x` with `weight` (f32): `[N, OH, OW, O]`.
fn convolution<T: Number>(gpu: &Gpu, g: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (library, weight) = (library(gpu)?, as_maps(weight, T::DTYPE)?);
    let plan = library.plan(g, T::DTYPE)?;
    let (algorithm, bytes) = plan.forward;
    let (out, to) = gpu.new_tensor::<T>((g.n, g.oh, g.ow, g.o))?;
    let (x, w, space) = (pointer::<T>(x)?, pointer::<T>(&weight)?, library.workspace(gpu, bytes)?);
    // SAFETY: the tensors have the shapes and elements of the descriptors, and live until their work is in the stream.
    checked(unsafe {
        result::convolution_forward(
            library.handle.0,
            factor(&ONE),
            plan.x.0,
            x,
            plan.w.0,
            w,
            plan.conv.0,
            algorithm,
            space,
            bytes,
            factor(&ZERO),
            plan.y.0,
            to.0 as *mut c_void,
        )
    })?;
    Ok(out)
}

/// The gradient of the input: added to `sum` where there is one.
fn backward_data<T: Number>(
    gpu: &Gpu,
    g: &Geometry,
    dy: &Tensor,
    weight: &Tensor,
    sum: Option<Tensor>,
) -> Result<Tensor> {
    let (library, weight) = (library(gpu)?, as_maps(weight, T::DTYPE)?);
    let plan = library.plan(g, T::DTYPE)?;
    let (algorithm, bytes) = plan.data;
    let kept = if sum.is_some() { &ONE } else { &ZERO };
    let out = match sum {
        Some(sum) => sum,
        None => gpu.new_tensor::<T>((g.n, g.h, g.w, g.c))?.0,
    };
    let (dy, w, to) = (pointer::<T>(dy)?, pointer::<T>(&weight)?, pointer::<T>(&out)?);
    let space = library.workspace(gpu, bytes)?;
    // SAFETY: the tensors have the shapes and elements of the descriptors, and live until their work is in the stream. The
    // output is new, or a gradient that waits and has no other owner.
    checked(unsafe {
        result::convolution_backward_data(
            library.handle.0,
            factor(&ONE),
            plan.w.0,
            w,
            plan.y.0,
            dy,
            plan.conv.0,
            algorithm,
            space,
            bytes,
            factor(kept),
            plan.x.0,
            to,
        )
    })?;
    Ok(out)
}

/// The gradient of the weights, f32 `[O, K, K, C]`. From maps of bf16 it is rounded to bf16 once, after its sums in f32.
fn backward_filter<T: Number>(gpu: &Gpu, g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let library = library(gpu)?;
    let plan = library.plan(g, T::DTYPE)?;
    let (algorithm, bytes) = plan.filter;
    let (out, to) = gpu.new_tensor::<T>((g.o, g.k, g.k, g.c))?;
    let (x, dy, space) = (pointer::<T>(x)?, pointer::<T>(dy)?, library.workspace(gpu, bytes)?);
    // SAFETY: the tensors have the shapes and elements of the descriptors, and live until their work is in the stream.
    checked(unsafe {
        result::convolution_backward_filter(
            library.handle.0,
            factor(&ONE),
            plan.x.0,
            x,
            plan.y.0,
            dy,
            plan.conv.0,
            algorithm,
            space,
            bytes,
            factor(&ZERO),
            plan.w.0,
            to.0 as *mut c_void,
        )
    })?;
    as_maps(&out, DType::F32)
}

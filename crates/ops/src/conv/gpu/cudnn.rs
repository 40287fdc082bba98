//! cuDNN on one thread and one GPU: its handle, the workspace, and what has been prepared for each convolution.

#![allow(unsafe_code)]

use super::handle::{Handle, limits};
use super::problem::{ALIGNMENT, Direction, Operands, Problem};
use super::{graph, legacy};
use crate::conv::engines::{self, Choice};
use crate::conv::geometry::Geometry;
use crate::gpu::machine::Number;
use crate::gpu::{Gpu, Precision};
use candle_core::cuda_backend::cudarc::cudnn::result;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{DType, Result, bail};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Whether cuDNN computes convolutions of that kind.
///
/// # Errors
/// When it does not.
pub(super) fn checked_shape(g: &Geometry, dtype: DType) -> Result<()> {
    if !matches!(dtype, DType::F32 | DType::BF16) {
        bail!("conv2d on a GPU: maps of {dtype:?}; use f32 or bf16")
    }
    let Geometry { h, w, k, stride, before, oh, ow, .. } = *g;
    if (oh - 1) * stride + k > h + 2 * before || (ow - 1) * stride + k > w + 2 * before {
        bail!("conv2d on a GPU: a {k}x{k} kernel needs the same zeros on every side; use an odd kernel")
    }
    Ok(())
}

/// A convolution that is ready to be computed, with what was chosen for it.
pub(super) enum Plan {
    Legacy(legacy::Plan),
    Graph(graph::Plan),
}

impl Plan {
    /// Bytes of workspace.
    pub fn workspace(&self) -> usize {
        match self {
            Self::Legacy(plan) => plan.workspace,
            Self::Graph(plan) => plan.workspace,
        }
    }

    pub fn choice(&self) -> Choice {
        match self {
            Self::Legacy(plan) => plan.choice.clone(),
            Self::Graph(plan) => plan.choice.clone(),
        }
    }
}

/// The images from `start` on that one plan takes.
pub(super) struct Part {
    pub start: usize,
    pub plan: Rc<Plan>,
}

/// What a thread holds for one GPU: handles cannot be shared.
pub(super) struct Library {
    // Plans go before the handle that they were made with.
    parts: RefCell<HashMap<Problem, Rc<[Part]>>>,
    pub plans: RefCell<HashMap<Problem, Rc<Plan>>>,
    pub handle: Handle,
    pub gpu: Gpu,
    /// GPU and version of cuDNN, for those who keep choices.
    pub machine: String,
    /// One buffer, used by one convolution after the other.
    workspace: RefCell<Option<CudaSlice<u8>>>,
}

thread_local! {
    static LIBRARIES: RefCell<HashMap<DeviceId, Rc<Library>>> = RefCell::default();
}

/// Forgets this thread's libraries, as another process would.
#[cfg(test)]
pub(super) fn forget() {
    LIBRARIES.take();
}

impl Library {
    /// This thread's for a GPU, whose context is the thread's from here on: cuDNN works in whichever that is.
    pub fn of(gpu: &Gpu) -> Result<Rc<Self>> {
        let stream = gpu.0.cuda_stream();
        stream.context().bind_to_thread().w()?;
        LIBRARIES.with_borrow_mut(|libraries| {
            if let Some(library) = libraries.get(&gpu.0.id()) {
                return Ok(library.clone());
            }
            let library = Rc::new(Self {
                parts: RefCell::default(),
                plans: RefCell::default(),
                handle: Handle::of(gpu)?,
                gpu: gpu.clone(),
                machine: format!("{}, cuDNN {}", stream.context().name().w()?, result::get_version()),
                workspace: RefCell::default(),
            });
            libraries.insert(gpu.0.id(), library.clone());
            Ok(library)
        })
    }

    /// Computes a product whose parts lie behind one another.
    pub fn compute<T: Number>(&self, direction: Direction, g: &Geometry, operands: Operands) -> Result<()> {
        for part in self.parts::<T>(direction, g, operands)?.iter() {
            self.run(part, operands.from(g, part.start, size_of::<T>()))?;
        }
        Ok(())
    }

    /// Launches a part; `operands` are those of its first image.
    pub fn run(&self, part: &Part, operands: Operands) -> Result<()> {
        self.launch(&part.plan, operands)
    }

    /// Launches a plan.
    pub fn launch(&self, plan: &Plan, operands: Operands) -> Result<()> {
        let space = self.workspace(plan.workspace())?;
        match plan {
            Plan::Legacy(plan) => plan.launch(self.handle.raw(), operands, space),
            Plan::Graph(plan) => plan.launch(self.handle.raw(), operands, space),
        }
    }

    /// The parts of a product's images; more than one where the whole is past the limits.
    pub fn parts<T: Number>(&self, direction: Direction, g: &Geometry, operands: Operands) -> Result<Rc<[Part]>> {
        let problem = Problem { direction, g: *g, dtype: T::DTYPE, aligned: operands.aligned() };
        if let Some(parts) = self.parts.borrow().get(&problem) {
            return Ok(parts.clone());
        }
        checked_shape(g, T::DTYPE)?;
        let Geometry { n, h, w, c, o, oh, ow, .. } = *g;
        let image = (h * w * c).max(oh * ow * o);
        let most = limits().elements / image.max(1);
        if most == 0 {
            bail!("conv2d on a GPU: an image of {image} numbers is more than cuDNN takes; use smaller images")
        }
        let fewest = n.div_ceil(most);
        let mut count = match engines::chosen(&self.name(&problem)) {
            Some(Choice::Parts(parts)) => parts.clamp(fewest, n.max(1)),
            _ => fewest,
        };
        let parts = loop {
            if let Some(parts) = self.in_parts(&problem, (count, most), operands, size_of::<T>())? {
                break parts;
            }
            if count >= n {
                bail!(
                    "cuDNN has no deterministic {direction:?} of {} within {} MiB of workspace",
                    self.name(&problem),
                    limits().workspace >> 20
                )
            }
            count = (2 * count).min(n);
        };
        if count > fewest {
            engines::keep(self.name(&problem), Choice::Parts(count));
        }
        let parts: Rc<[Part]> = parts.into();
        self.parts.borrow_mut().insert(problem, parts.clone());
        Ok(parts)
    }

    /// Plans for about `count` parts of equal size, at most `most` images each; none where nothing computes one of them.
    fn in_parts(
        &self,
        problem: &Problem,
        (count, most): (usize, usize),
        operands: Operands,
        element: usize,
    ) -> Result<Option<Vec<Part>>> {
        let n = problem.g.n;
        let (size, lines) = (n.div_ceil(count.max(1)).max(1), ALIGNMENT as usize);
        // So many images are a multiple of what addresses should be one of.
        let size =
            if (lines..n).contains(&size) { size.next_multiple_of(lines).min(most / lines * lines) } else { size };
        let mut parts = Vec::new();
        for start in (0..n).step_by(size) {
            let operands = operands.from(&problem.g, start, element);
            let g = Geometry { n: size.min(n - start), ..problem.g };
            match self.plan(&Problem { g, aligned: operands.aligned(), ..*problem }, operands)? {
                Some(plan) => parts.push(Part { start, plan }),
                None => return Ok(None),
            }
        }
        Ok(Some(parts))
    }

    /// The workspace's address, for at least so many bytes; none are at no address.
    pub fn workspace(&self, bytes: usize) -> Result<u64> {
        if bytes == 0 {
            return Ok(0);
        }
        let mut kept = self.workspace.borrow_mut();
        if kept.as_ref().is_none_or(|w| w.len() < bytes) {
            // The smaller one goes first; earlier work on it is done before the memory is used again.
            *kept = None;
            // SAFETY: bytes of any value are valid, and cuDNN writes the workspace before it reads it.
            *kept = Some(unsafe { self.gpu.0.alloc::<u8>(bytes) }?);
        }
        Ok(kept.as_ref().map_or(0, |w| w.device_ptr(&self.gpu.0.cuda_stream()).0))
    }

    /// Gives the workspace back: what was tried may have wanted more than what was chosen.
    pub fn shrink(&self) {
        *self.workspace.borrow_mut() = None;
    }

    /// What choices for a problem are kept under.
    pub fn name(&self, problem: &Problem) -> String {
        let Problem { direction, g, dtype, aligned } = problem;
        let Geometry { n, h, w, c, o, k, stride, before, .. } = g;
        let precision = match (dtype, self.handle.precision) {
            (DType::BF16, _) => "bf16",
            (_, Precision::Exact) => "f32",
            (_, Precision::Tf32) => "tf32",
        };
        let unaligned = if *aligned { "" } else { ", unaligned" };
        format!(
            "{}: {direction:?} {precision} {n}x{h}x{w}x{c} to {o} by {k}x{k}, stride {stride}, zeros {before}{unaligned}",
            self.machine
        )
    }
}

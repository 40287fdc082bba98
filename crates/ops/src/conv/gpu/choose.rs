//! The choice of what computes a convolution: as before, the first that is proposed, or the fastest.

#![allow(unsafe_code)]

use super::cudnn::{Library, Plan};
use super::graph::{self, Graph};
use super::legacy;
use super::problem::{Direction, Operands, Problem};
use crate::conv::engines::{self, Choice, Choosing};
use crate::conv::geometry::Geometry;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaView, DevicePtr, DevicePtrMut, result, sys::CUevent_flags,
};
use candle_core::{Result, bail};
use std::rc::Rc;

/// Most engines for graphs, and most algorithms before them, that are measured.
const GRAPHS: usize = 8;
const LEGACY: usize = 2;
/// Times that each is measured, after one that is not.
const TIMES: usize = 3;
/// Slower than the fastest by so much at first, an engine is not measured further.
const HOPELESS: f32 = 3.0;
/// The bytes of a number near 1, as f32 and as bf16; and how many of a map's are looked at on either end.
const FILLED: u8 = 0x3f;
const LOOKED_AT: usize = 1 << 20;

impl Library {
    /// What computes a problem; none where nothing does within the limits. `operands` may be computed with, as the problem
    /// says: but for a gradient that is added to, the output is written.
    ///
    /// # Errors
    /// When what was chosen before is not to be had.
    pub fn plan(&self, problem: &Problem, operands: Operands) -> Result<Option<Rc<Plan>>> {
        if let Some(plan) = self.plans.borrow().get(problem) {
            return Ok(Some(plan.clone()));
        }
        let name = self.name(problem);
        let plan = match engines::chosen(&name) {
            Some(Choice::Parts(_)) => return Ok(None),
            Some(choice) => self.prepare(problem, &choice)?,
            None => {
                let Some(plan) = self.choose(problem, operands)? else { return Ok(None) };
                match engines::keep(name, plan.choice()) {
                    kept if kept == plan.choice() => plan,
                    kept => self.prepare(problem, &kept)?,
                }
            }
        };
        let plan = Rc::new(plan);
        self.plans.borrow_mut().insert(*problem, plan.clone());
        Ok(Some(plan))
    }

    /// A plan of what was chosen before.
    fn prepare(&self, problem: &Problem, choice: &Choice) -> Result<Plan> {
        let plan = match choice {
            Choice::Graph { engine, knobs } => {
                let graph = Graph::new(&self.handle, problem)?;
                graph
                    .config(*engine, knobs)
                    .and_then(|config| graph.plan(&self.handle, config))
                    .ok()
                    .flatten()
                    .map(Plan::Graph)
            }
            _ => legacy::candidates(&self.handle, problem)?
                .into_iter()
                .find(|plan| plan.choice == *choice)
                .map(Plan::Legacy),
        };
        match plan {
            Some(plan) => Ok(plan),
            None => bail!(
                "{}: cuDNN does not offer `{choice}`, which computed this convolution before; a run that goes on needs it: \
                 begin a new run",
                self.name(problem)
            ),
        }
    }

    /// What is proposed for a problem, best first, as far as `graphs` and `legacy` go.
    pub(super) fn candidates(&self, problem: &Problem, graphs: usize, legacy: usize) -> Result<Vec<Plan>> {
        let mut plans: Vec<Plan> = Vec::new();
        if graphs > 0 && problem.aligned {
            // What graphs cannot do is left to the interface before them.
            let graph = Graph::new(&self.handle, problem).and_then(|graph| Ok((graph.proposals()?, graph)));
            if let Ok((proposals, graph)) = graph {
                plans.extend(self.graph_plans(problem, &graph, proposals).take(graphs));
            }
        }
        if legacy > 0 && plans.len() < graphs + legacy {
            plans.extend(legacy::candidates(&self.handle, problem)?.into_iter().take(legacy).map(Plan::Legacy));
        }
        Ok(plans)
    }

    fn graph_plans(
        &self,
        problem: &Problem,
        graph: &Graph,
        proposals: Vec<graph::Config>,
    ) -> impl Iterator<Item = Plan> {
        let mut seen = Vec::new();
        let plans = proposals.into_iter().filter_map(move |config| {
            let plan = graph.plan(&self.handle, config).ok().flatten()?;
            let new = !seen.contains(&plan.choice);
            seen.push(plan.choice.clone());
            new.then_some(Plan::Graph(plan))
        });
        let sums = problem.direction == Direction::DataSum;
        // What cannot be tried, for want of memory, is not trusted.
        plans.filter(move |plan| !sums || self.adds(problem, plan).unwrap_or(false))
    }

    /// Whether a plan adds to what stands in the output. Engines have been seen to take a graph that says so, and to write
    /// over it: zeros are added to a map here, which must stay as it is.
    fn adds(&self, problem: &Problem, plan: &Plan) -> Result<bool> {
        let Geometry { n, h, w, c, o, k, oh, ow, .. } = problem.g;
        let (stream, size) = (self.gpu.0.cuda_stream(), problem.dtype.size_in_bytes());
        let zeros = |len: usize| stream.alloc_zeros::<u8>(len * size).w();
        let (mut map, weight, dy) = (zeros(n * h * w * c)?, zeros(o * k * k * c)?, zeros(n * oh * ow * o)?);
        let bytes = map.len();
        // SAFETY: the memory was allocated with as many bytes just before; bytes of any value are valid.
        unsafe { result::memset_d8_async(map.device_ptr_mut(&stream).0, FILLED, bytes, stream.cu_stream()) }.w()?;
        let place = |memory: &CudaSlice<u8>| memory.device_ptr(&stream).0;
        self.launch(plan, Operands { x: place(&map), w: place(&weight), y: place(&dy) })?;
        let ends = [map.slice(..bytes.min(LOOKED_AT)), map.slice(bytes.saturating_sub(LOOKED_AT)..)];
        let kept =
            |end: &CudaView<u8>| -> Result<bool> { Ok(stream.clone_dtoh(end).w()?.iter().all(|byte| *byte == FILLED)) };
        Ok(kept(&ends[0])? && kept(&ends[1])?)
    }

    fn choose(&self, problem: &Problem, operands: Operands) -> Result<Option<Plan>> {
        let first = |graphs, legacy| Ok(self.candidates(problem, graphs, legacy)?.into_iter().next());
        match engines::choosing()? {
            Choosing::Legacy => first(0, 1),
            Choosing::Heuristic => match first(1, 0)? {
                Some(plan) => Ok(Some(plan)),
                None => first(0, 1),
            },
            Choosing::Timed => {
                let mut plans = self.candidates(problem, GRAPHS, LEGACY)?;
                let best = if plans.len() > 1 { self.fastest(problem, &plans, operands)? } else { 0 };
                Ok((best < plans.len()).then(|| plans.swap_remove(best)))
            }
        }
    }

    /// Which of the plans is fastest; the first where none can be measured.
    fn fastest(&self, problem: &Problem, plans: &[Plan], operands: Operands) -> Result<usize> {
        // A sum would go on with each measurement: it is made of other numbers.
        let scratch = match problem.direction {
            Direction::DataSum => {
                let g = &problem.g;
                let bytes = g.n * g.h * g.w * g.c * problem.dtype.size_in_bytes();
                // SAFETY: bytes of any value are valid, and nobody reads what is computed from them.
                let Ok(memory) = (unsafe { self.gpu.0.alloc::<u8>(bytes) }) else { return Ok(0) };
                Some(memory)
            }
            _ => None,
        };
        let stream = self.gpu.0.cuda_stream();
        let x = scratch.as_ref().map_or(operands.x, |memory| memory.device_ptr(&stream).0);
        let operands = Operands { x, ..operands };
        let mut best: Option<(usize, f32)> = None;
        for (i, plan) in plans.iter().enumerate() {
            // Memory for what this one needs may be short, where it is not for another.
            let Ok(ms) = self.measure(plan, operands, best.map(|(_, ms)| ms)) else { continue };
            if best.is_none_or(|(_, least)| ms < least) {
                best = Some((i, ms));
            }
        }
        self.shrink();
        Ok(best.map_or(0, |(i, _)| i))
    }

    /// Milliseconds of a plan: the median of some, after one that does not count.
    pub(super) fn measure(&self, plan: &Plan, operands: Operands, least: Option<f32>) -> Result<f32> {
        let stream = self.gpu.0.cuda_stream();
        let once = || -> Result<f32> {
            let begun = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w()?;
            self.launch(plan, operands)?;
            let done = stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w()?;
            begun.elapsed_ms(&done).w()
        };
        once()?;
        let mut times = [0f32; TIMES];
        for (i, time) in times.iter_mut().enumerate() {
            *time = once()?;
            if i == 0 && least.is_some_and(|least| *time > HOPELESS * least) {
                return Ok(*time);
            }
        }
        times.sort_by(f32::total_cmp);
        Ok(times[TIMES / 2])
    }
}

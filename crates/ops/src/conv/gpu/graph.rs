//! Convolutions by cuDNN's graphs: a graph of one operation, the engines that cuDNN proposes for it, and plans of them.

#![allow(unsafe_code)]

use super::handle::{Handle, checked, limits};
use super::problem::{ALIGNMENT, Direction, Operands, Problem};
use crate::conv::engines::Choice;
use crate::conv::geometry::Geometry;
use crate::gpu::Precision;
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::{DType, Result};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::slice::from_ref;
use sys::cudnnBackendAttributeName_t as Name;
use sys::cudnnBackendAttributeType_t as Type;
use sys::cudnnBackendDescriptorType_t as Kind;
use sys::cudnnBackendHeurMode_t as Mode;
use sys::cudnnBackendNumericalNote_t as Note;

/// Most knobs of an engine, and notes on one.
const ROOM: usize = 64;
/// Where the operands of a graph are named: maps `x`, weights, maps `y`.
const NAMES: [i64; 3] = [1, 2, 3];

/// What an attribute of a descriptor holds, as C stores it.
///
/// # Safety
/// The type is stored as cuDNN stores a value of `TYPE`, and every value that cuDNN writes is one of it.
unsafe trait Attribute: Copy {
    const TYPE: Type;
}

/// A descriptor as an attribute of another.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Raw(sys::cudnnBackendDescriptor_t);
/// The kind of a knob, or a note: a number, because a later cuDNN has more of them than its bindings.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct KnobKind(u32);
#[derive(Clone, Copy)]
#[repr(transparent)]
struct NoteNumber(u32);

macro_rules! attributes {
    ($($type:ty => $name:ident),* $(,)?) => {
        // SAFETY: integers, floats, pointers and C's enums of the same width as in cuDNN's header. Of the enums, only the
        // numbers are ever read back.
        $(unsafe impl Attribute for $type { const TYPE: Type = Type::$name; })*
    };
}
attributes! {
    i64 => CUDNN_TYPE_INT64,
    f32 => CUDNN_TYPE_FLOAT,
    Raw => CUDNN_TYPE_BACKEND_DESCRIPTOR,
    *mut c_void => CUDNN_TYPE_VOID_PTR,
    sys::cudnnHandle_t => CUDNN_TYPE_HANDLE,
    sys::cudnnDataType_t => CUDNN_TYPE_DATA_TYPE,
    sys::cudnnConvolutionMode_t => CUDNN_TYPE_CONVOLUTION_MODE,
    Mode => CUDNN_TYPE_HEUR_MODE,
    KnobKind => CUDNN_TYPE_KNOB_TYPE,
    NoteNumber => CUDNN_TYPE_NUMERICAL_NOTE,
}

/// A descriptor of cuDNN's, freed when dropped, with those that it was given.
struct Descriptor {
    raw: NonNull<c_void>,
    parts: Vec<Rc<Descriptor>>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed here alone. An error has nobody to go to.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.raw.as_ptr()) };
    }
}

impl Descriptor {
    fn new(kind: Kind) -> Result<Self> {
        let mut raw = null_mut();
        // SAFETY: writes one pointer.
        checked(unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut raw) }.result())?;
        let raw = NonNull::new(raw).ok_or_else(|| candle_core::Error::Msg("cuDNN made no descriptor".into()))?;
        Ok(Self { raw, parts: Vec::new() })
    }

    fn set<A: Attribute>(self, name: Name, values: &[A]) -> Result<Self> {
        let (raw, count) = (self.raw.as_ptr(), values.len() as i64);
        // SAFETY: a live descriptor, and `count` values that are stored as their type says; cuDNN copies them.
        checked(unsafe { sys::cudnnBackendSetAttribute(raw, name, A::TYPE, count, values.as_ptr().cast()) }.result())?;
        Ok(self)
    }

    /// Sets descriptors, which stay as long as this one.
    fn hold(mut self, name: Name, parts: &[Rc<Self>]) -> Result<Self> {
        self.parts.extend_from_slice(parts);
        let raw: Vec<Raw> = parts.iter().map(|part| Raw(part.raw.as_ptr())).collect();
        self.set(name, &raw)
    }

    fn finish(self) -> Result<Rc<Self>> {
        // SAFETY: a live descriptor.
        checked(unsafe { sys::cudnnBackendFinalize(self.raw.as_ptr()) }.result())?;
        Ok(Rc::new(self))
    }

    /// At most as many values as `values` has room for; those that there are.
    fn get<A: Attribute>(&self, name: Name, mut values: Vec<A>) -> Result<Vec<A>> {
        let (raw, room, mut count) = (self.raw.as_ptr(), values.len() as i64, 0);
        let to = values.as_mut_ptr().cast();
        // SAFETY: a live descriptor; there is room for `room` values, which are stored as their type says.
        checked(unsafe { sys::cudnnBackendGetAttribute(raw, name, A::TYPE, room, &mut count, to) }.result())?;
        values.truncate(usize::try_from(count).unwrap_or(0));
        Ok(values)
    }

    fn number(&self, name: Name) -> Result<i64> {
        Ok(self.get(name, vec![0])?.first().copied().unwrap_or(0))
    }

    /// Descriptors that cuDNN fills in.
    fn descriptors(&self, name: Name, kind: Kind, room: usize) -> Result<Vec<Self>> {
        let mut made = (0..room).map(|_| Self::new(kind)).collect::<Result<Vec<_>>>()?;
        let raw = made.iter().map(|d| Raw(d.raw.as_ptr())).collect();
        let count = self.get::<Raw>(name, raw)?.len();
        made.truncate(count);
        Ok(made)
    }

    /// How many values an attribute has.
    fn count<A: Attribute>(&self, name: Name) -> Result<usize> {
        let mut count = 0;
        // SAFETY: a live descriptor; no room, so nothing is written but the count.
        let status =
            unsafe { sys::cudnnBackendGetAttribute(self.raw.as_ptr(), name, A::TYPE, 0, &mut count, null_mut()) };
        checked(status.result())?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

/// A graph of one of a convolution's products.
pub struct Graph {
    graph: Rc<Descriptor>,
    /// Whether its numbers are f32 that must not be rounded to TF32.
    exact: bool,
    full: bool,
}

/// An engine for a graph with values of its knobs.
pub struct Config(Descriptor);

/// A product with its engine, ready to be computed.
pub struct Plan {
    plan: Rc<Descriptor>,
    _graph: Rc<Descriptor>,
    pub choice: Choice,
    pub workspace: usize,
}

fn tensor(name: i64, element: sys::cudnnDataType_t, [n, c, h, w]: [usize; 4]) -> Result<Rc<Descriptor>> {
    let ints = |values: [usize; 4]| values.map(|v| v as i64);
    Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
        .set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[element])?
        // Named N, C, H, W; channels last by their strides.
        .set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &ints([n, c, h, w]))?
        .set(Name::CUDNN_ATTR_TENSOR_STRIDES, &ints([h * w * c, 1, w * c, c]))?
        .set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[name])?
        .set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT as i64])?
        .finish()
}

impl Graph {
    /// The graph of a problem.
    ///
    /// # Errors
    /// When this cuDNN has no graphs of that kind.
    pub fn new(handle: &Handle, problem: &Problem) -> Result<Self> {
        let Geometry { n, h, w, c, o, k, stride, before, oh, ow } = problem.g;
        let f32s = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let element = if problem.dtype == DType::BF16 { sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16 } else { f32s };
        let x = tensor(NAMES[0], element, [n, c, h, w])?;
        let weights = tensor(NAMES[1], element, [o, c, k, k])?;
        let y = tensor(NAMES[2], element, [n, o, oh, ow])?;
        let both = |v: usize| [v as i64; 2];
        let conv = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &[f32s])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2i64])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &both(1))?
            .set(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &both(stride))?
            .set(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &both(before))?
            .set(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &both(before))?
            .finish()?;
        let (kind, [of_conv, of_x, of_w, of_y, alpha, beta]) = match problem.direction {
            Direction::Forward => (
                Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                [
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                ],
            ),
            Direction::Data | Direction::DataSum => (
                Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                [
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
                ],
            ),
            Direction::Filter => (
                Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                [
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                    Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                ],
            ),
        };
        let kept = if problem.direction == Direction::DataSum { 1f32 } else { 0f32 };
        let operation = Descriptor::new(kind)?
            .hold(of_conv, &[conv])?
            .hold(of_x, &[x])?
            .hold(of_w, &[weights])?
            .hold(of_y, &[y])?
            .set(alpha, &[1f32])?
            .set(beta, &[kept])?
            .finish()?;
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, &[handle.raw()])?
            .hold(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &[operation])?
            .finish()?;
        let full = problem.dtype == DType::F32;
        Ok(Self { graph, exact: full && handle.precision == Precision::Exact, full })
    }

    /// What cuDNN proposes, best first.
    ///
    /// # Errors
    /// When it has nothing for such a graph.
    pub fn proposals(&self) -> Result<Vec<Config>> {
        let mut proposals = Vec::new();
        for mode in [Mode::CUDNN_HEUR_MODE_A, Mode::CUDNN_HEUR_MODE_FALLBACK] {
            let asked = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
                .hold(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, from_ref(&self.graph))?
                .set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[mode])?
                .finish();
            // A mode may know nothing of a graph that another has engines for.
            let Ok(asked) = asked else { continue };
            let name = Name::CUDNN_ATTR_ENGINEHEUR_RESULTS;
            let count = asked.count::<Raw>(name)?;
            let found = asked.descriptors(name, Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count)?;
            proposals.extend(found.into_iter().map(Config));
        }
        Ok(proposals)
    }

    /// The engine that was chosen before.
    ///
    /// # Errors
    /// When this cuDNN has no such engine for the graph.
    pub fn config(&self, engine: i64, knobs: &[(u32, i64)]) -> Result<Config> {
        let engine = Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?
            .hold(Name::CUDNN_ATTR_ENGINE_OPERATION_GRAPH, from_ref(&self.graph))?
            .set(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, &[engine])?
            .finish()?;
        let knob = |&(kind, value): &(u32, i64)| {
            Descriptor::new(Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)?
                .set(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, &[KnobKind(kind)])?
                .set(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, &[value])?
                .finish()
        };
        let knobs = knobs.iter().map(knob).collect::<Result<Vec<_>>>()?;
        let config = Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?
            .hold(Name::CUDNN_ATTR_ENGINECFG_ENGINE, &[engine])?;
        let config = match knobs.is_empty() {
            true => config,
            false => config.hold(Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &knobs)?,
        };
        // SAFETY: a live descriptor.
        checked(unsafe { sys::cudnnBackendFinalize(config.raw.as_ptr()) }.result())?;
        Ok(Config(config))
    }

    /// A plan of an engine; none where it is not deterministic, not exact enough, or wants more than the allowed workspace.
    ///
    /// # Errors
    /// When the engine does not take this graph after all.
    pub fn plan(&self, handle: &Handle, config: Config) -> Result<Option<Plan>> {
        let engine =
            config.0.descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?;
        let Some(engine) = engine.into_iter().next() else { return Ok(None) };
        let notes = engine.get(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, vec![NoteNumber(0); ROOM])?;
        if notes.iter().any(|note| self.refuses(note.0)) {
            return Ok(None);
        }
        let index = engine.number(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX)?;
        let name = Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES;
        let mut knobs = Vec::new();
        for knob in config.0.descriptors(name, Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, ROOM)? {
            let kind = knob.get(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, vec![KnobKind(0)])?;
            let value = knob.number(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)?;
            knobs.extend(kind.first().map(|kind| (kind.0, value)));
        }
        let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, &[handle.raw()])?
            .hold(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[Rc::new(config.0)])?
            .finish()?;
        let bytes = plan.number(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
        let workspace = usize::try_from(bytes).unwrap_or(0);
        let choice = Choice::Graph { engine: index, knobs };
        Ok((workspace <= limits().workspace).then_some(Plan { plan, _graph: self.graph.clone(), choice, workspace }))
    }

    /// Whether an engine with that note is not to be used.
    fn refuses(&self, note: u32) -> bool {
        // Transforms of large tiles lose digits; rounding f32 to 16 bits loses more than TF32.
        let always = [
            Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC,
            Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
            Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6,
            Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13,
        ];
        let in_f32 = [Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS];
        let where_exact = [
            Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
            Note::CUDNN_NUMERICAL_NOTE_FFT,
            Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
        ];
        let has = |notes: &[Note]| notes.iter().any(|n| *n as u32 == note);
        has(&always) || self.full && has(&in_f32) || self.exact && has(&where_exact)
    }
}

impl Plan {
    /// Computes the product, with at least [`Plan::workspace`] bytes at `space`.
    pub fn launch(&self, handle: sys::cudnnHandle_t, operands: Operands, space: u64) -> Result<()> {
        let addresses = [operands.x, operands.w, operands.y].map(|address| address as *mut c_void);
        let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &NAMES)?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &addresses)?
            .set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[space as *mut c_void])?
            .finish()?;
        // SAFETY: the operands have the shapes and elements of the graph's tensors, begin where `ALIGNMENT` says, and live
        // until their work is in the stream. An output that is added to has no other owner.
        checked(unsafe { sys::cudnnBackendExecute(handle, self.plan.raw.as_ptr(), pack.raw.as_ptr()) }.result())
    }
}

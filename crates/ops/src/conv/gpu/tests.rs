//! Convolutions on a GPU against the CPU's, by each interface; what the emulated cuDNN sees of how it is called.
#![allow(clippy::unwrap_used, unsafe_code)]

use super::cudnn::{self, Library};
use super::handle::{LIMITS as LARGE, Limits, TESTED as LIMITS};
use super::problem::{Direction, Operands, Problem};
use super::{forward, input_gradient, weight_gradient};
use crate::conv::cpu;
use crate::conv::engines::{self, Choice, Choosing, TESTED as CHOOSING};
use crate::conv::geometry::Geometry;
use crate::conv::map::Map;
use crate::gpu::{Gpu, Precision, at, open};
use crate::testing::numbers::{assert_close, device, flat, numbers};
use candle_core::cuda_backend::cudarc;
use candle_core::{DType, Device, Result, Tensor};
use half::bf16;

/// The GPU that is tested; none where tests are of the CPU.
fn gpu() -> Option<Gpu> {
    Gpu::of(&Tensor::zeros(1, DType::F32, &device()).unwrap())
}

/// Sets one of this thread's settings of the emulated cuDNN, and gives what it was; none on a real GPU.
fn emulated(name: &std::ffi::CStr, value: i64) -> Option<i64> {
    type Set = unsafe extern "C" fn(*const std::ffi::c_char, i64) -> i64;
    // SAFETY: looks for a name among the libraries that the process has.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"emulated_cudnn".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the emulator's function of that name has this type.
    let set = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Set>(found) };
    // SAFETY: the name ends in zero.
    let was = unsafe { set(name.as_ptr(), value) };
    assert_ne!(was, -1, "{name:?}");
    Some(was)
}

/// Whether it is there and takes a setting.
fn sets(name: &std::ffi::CStr, value: i64) -> bool {
    emulated(name, value).is_some()
}

fn geometry(n: usize, (h, w): (usize, usize), (c, o): (usize, usize), k: usize, stride: usize) -> Geometry {
    let before = (k - 1) / 2;
    let out = |side: usize| (side + 2 * before - k) / stride + 1;
    Geometry { n, h, w, c, o, k, stride, before, oh: out(h), ow: out(w) }
}

/// Maps and weights of a convolution, and a gradient that waits, rounded to `dtype`, on the CPU in f32.
struct Numbers {
    g: Geometry,
    x: Tensor,
    w: Tensor,
    dy: Tensor,
    sum: Tensor,
}

impl Numbers {
    fn of(g: Geometry, dtype: DType) -> Self {
        let rounded = |shape: &[usize], seed| {
            numbers(shape, seed).to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap().contiguous().unwrap()
        };
        let (x, w) = (rounded(&[g.n, g.h, g.w, g.c], 1), rounded(&[g.o, g.k, g.k, g.c], 2));
        Self { g, x, w, dy: rounded(&[g.n, g.oh, g.ow, g.o], 3), sum: rounded(&[g.n, g.h, g.w, g.c], 4) }
    }

    /// Output, gradient of the input, the same added to a sum, gradient of the weights: by the CPU.
    fn by_cpu(&self) -> [Vec<f32>; 4] {
        let (g, x) = (&self.g, Map { tensor: self.x.clone(), affine: None });
        let dx = cpu::input_gradient(g, &self.dy, &self.w, None).unwrap();
        let sum = (&dx + &self.sum).unwrap();
        let (y, dw) = (cpu::forward(g, &x, &self.w, false).unwrap().0, cpu::weight_gradient(g, &x, &self.dy).unwrap());
        [y, dx, sum, dw].map(|t| flat(&t))
    }

    /// The same by a GPU.
    fn by_gpu(&self, gpu: &Gpu, dtype: DType) -> Result<[Vec<f32>; 4]> {
        let device = Device::Cuda(gpu.0.clone());
        let up = |t: &Tensor| t.to_dtype(dtype)?.to_device(&device)?.copy();
        let (g, x, dy) = (&self.g, Map { tensor: up(&self.x)?, affine: None }, up(&self.dy)?);
        let w = self.w.to_device(&device)?;
        let y = forward(gpu, g, &x, &w, false)?.0;
        let dx = input_gradient(gpu, g, &dy, &w, None)?;
        let sum = input_gradient(gpu, g, &dy, &w, Some(up(&self.sum)?))?;
        let dw = weight_gradient(gpu, g, &x, &dy)?;
        assert_eq!((y.dtype(), dx.dtype(), dw.dtype()), (dtype, dtype, DType::F32));
        Ok([y, dx, sum, dw].map(|t| flat(&t)))
    }

    /// Holds a GPU's numbers against the CPU's.
    fn check(&self, what: &str, gpu: &Gpu, dtype: DType) {
        let found = self.by_gpu(gpu, dtype).unwrap_or_else(|e| panic!("{what}: {e:#}"));
        self.compare(what, found, dtype, gpu.precision());
    }

    fn compare(&self, what: &str, found: [Vec<f32>; 4], dtype: DType, precision: Precision) {
        let names = ["output", "dx", "dx added", "dw"];
        for ((name, found), want) in names.iter().zip(found).zip(self.by_cpu()) {
            close(&format!("{what}: {name}"), &found, &want, dtype, precision);
        }
    }
}

/// Within what rounding allows, of the largest number.
fn close(what: &str, found: &[f32], want: &[f32], dtype: DType, precision: Precision) {
    close_in_parts(what, found, want, dtype, precision, 1);
}

/// Into how many parts a choice cuts the sum of each number: bf16 rounds each of them.
fn parts_of_sums(choice: &Choice) -> i64 {
    let split = cudarc::cudnn::sys::cudnnBackendKnobType_t::CUDNN_KNOB_TYPE_SPLIT_K as u32;
    let Choice::Graph { knobs, .. } = choice else { return 1 };
    knobs.iter().find(|(kind, _)| *kind == split).map_or(1, |(_, parts)| *parts)
}

/// The same of sums that were taken in parts.
fn close_in_parts(what: &str, found: &[f32], want: &[f32], dtype: DType, precision: Precision, parts: i64) {
    let digits = match (dtype, precision) {
        // Half a unit of bf16 of the largest number, a part: they add as what is drawn at random does.
        (DType::BF16, _) if parts > 1 => ((parts as f32).sqrt() / 256.0).max(1e-2),
        (DType::BF16, _) => 1e-2,
        (_, Precision::Tf32) => 2e-3,
        _ => 1e-5,
    };
    let scale = want.iter().fold(1f32, |most, v| most.max(v.abs()));
    let scaled = |v: &[f32]| v.iter().map(|v| v / scale).collect::<Vec<_>>();
    assert_close(what, &scaled(found), &scaled(want), digits);
}

/// A thread as a process finds it that has just begun, again when this is dropped.
struct Anew;

impl Drop for Anew {
    fn drop(&mut self) {
        cudnn::forget();
        CHOOSING.set(None);
        LIMITS.set(LARGE);
        for (name, value) in
            [(c"elements", (1 << 31) - 1), (c"workspace_of_image", 0), (c"graphs", 1), (c"data", 1), (c"forgets", 0)]
        {
            emulated(name, value);
        }
    }
}

/// As if the process had just begun, and engines were chosen so.
fn anew(choosing: Choosing) -> Anew {
    drop(Anew);
    CHOOSING.set(Some(choosing));
    Anew
}

#[test]
fn each_way_to_choose_computes_the_same() {
    let Some(gpu) = gpu() else { return };
    let shapes = [
        geometry(3, (9, 8), (16, 24), 3, 1),
        geometry(2, (11, 7), (8, 16), 3, 2),
        geometry(4, (8, 8), (32, 16), 1, 1),
        geometry(2, (15, 15), (3, 8), 7, 2),
        geometry(5, (1, 1), (48, 10), 1, 1),
    ];
    for choosing in [Choosing::Heuristic, Choosing::Timed, Choosing::Legacy] {
        let _anew = anew(choosing);
        for (i, g) in shapes.into_iter().enumerate() {
            for dtype in [DType::F32, DType::BF16] {
                // A shape of its own: choices are kept.
                let g = geometry(g.n + 8 * (choosing as usize), (g.h, g.w), (g.c, g.o), g.k, g.stride);
                sets(c"by_graphs", 0);
                sets(c"by_algorithms", 0);
                Numbers::of(g, dtype).check(&format!("{choosing:?} {i} {dtype:?}"), &gpu, dtype);
                let Some((graphs, legacy)) = emulated(c"by_graphs", 0).zip(emulated(c"by_algorithms", 0)) else {
                    continue;
                };
                match choosing {
                    // Four, and the trial of what is to add.
                    Choosing::Heuristic => assert_eq!((graphs, legacy), (5, 0)),
                    Choosing::Legacy => assert_eq!((graphs, legacy), (0, 4)),
                    Choosing::Timed => assert!(graphs > 4 && legacy > 4, "{graphs} {legacy}"),
                }
            }
        }
    }
}

/// All that cuDNN proposes for a problem computes the same: also what a measurement would choose another day.
#[test]
fn every_engine_that_is_proposed_computes_the_same() {
    let Some(gpu) = gpu() else { return };
    let _anew = anew(Choosing::Heuristic);
    let library = Library::of(&gpu).unwrap();
    let device = Device::Cuda(gpu.0.clone());
    for g in [
        geometry(4, (14, 14), (64, 64), 3, 1),
        geometry(4, (14, 14), (64, 128), 1, 1),
        geometry(4, (15, 15), (64, 32), 3, 2),
        geometry(2, (31, 31), (3, 64), 7, 2),
    ] {
        for dtype in [DType::F32, DType::BF16] {
            let all = Numbers::of(g, dtype);
            let up = |t: &Tensor| t.to_dtype(dtype).unwrap().to_device(&device).unwrap().copy().unwrap();
            let directions = [Direction::Forward, Direction::Data, Direction::DataSum, Direction::Filter];
            for (direction, want) in directions.into_iter().zip(all.by_cpu()) {
                let problem = Problem { direction, g, dtype, aligned: true };
                let plans = library.candidates(&problem, 64, 10).unwrap();
                assert!(!plans.is_empty(), "{problem:?}");
                eprintln!(
                    "{problem:?}: {}",
                    plans.iter().map(|p| p.choice().to_string()).collect::<Vec<_>>().join(", ")
                );
                for plan in plans {
                    let [x, w, y] = match direction {
                        Direction::Forward => [&all.x, &all.w, &all.dy],
                        Direction::Data => [&all.sum, &all.w, &all.dy],
                        Direction::DataSum => [&all.sum, &all.w, &all.dy],
                        Direction::Filter => [&all.x, &all.w, &all.dy],
                    }
                    .map(up);
                    let place = |t: &Tensor| match dtype {
                        DType::BF16 => at::<bf16>(t).unwrap().0,
                        _ => at::<f32>(t).unwrap().0,
                    };
                    let operands = Operands { x: place(&x), w: place(&w), y: place(&y) };
                    library.launch(&plan, operands).unwrap();
                    let out = match direction {
                        Direction::Forward => y,
                        Direction::Filter => w,
                        _ => x,
                    };
                    let (choice, precision) = (plan.choice(), gpu.precision());
                    let what = format!("{problem:?} by {choice}");
                    close_in_parts(&what, &flat(&out), &want, dtype, precision, parts_of_sums(&choice));
                }
            }
        }
    }
}

#[test]
fn an_engine_that_forgets_what_it_adds_to_is_not_taken() {
    let Some(gpu) = gpu() else { return };
    for choosing in [Choosing::Heuristic, Choosing::Timed] {
        // None forgets, each one does alone, all do.
        for (i, engines) in [0, 1, 2, 4, 8, 255].into_iter().enumerate() {
            let _anew = anew(choosing);
            if !sets(c"forgets", engines) {
                return;
            }
            let g = geometry(2 + i, (5, 3), (8, 8), 3, 1);
            Numbers::of(g, DType::BF16).check(&format!("engines {engines:b} forget"), &gpu, DType::BF16);
        }
    }
}

#[test]
fn an_answer_is_taken_with_its_math_type() {
    if gpu().is_none() {
        return;
    }
    let Ok(Device::Cuda(device)) = open(0, Precision::Tf32) else { panic!("the GPU opens twice") };
    let _anew = anew(Choosing::Legacy);
    let g = geometry(3, (6, 10), (16, 8), 3, 1);
    Numbers::of(g, DType::F32).check("TF32", &Gpu(device), DType::F32);
}

#[test]
fn exact_is_exact() {
    let Some(gpu) = gpu() else { return };
    for choosing in [Choosing::Legacy, Choosing::Heuristic, Choosing::Timed] {
        let _anew = anew(choosing);
        // Eleven bits behind the point: TF32 has ten.
        let device = Device::Cuda(gpu.0.clone());
        let g = geometry(4 + choosing as usize, (3, 5), (8, 8), 1, 1);
        let x = Tensor::full(1f32 + 1.0 / 2048.0, (g.n, g.h, g.w, g.c), &device).unwrap();
        let weight = Tensor::full(1f32, (g.o, 1, 1, g.c), &device).unwrap();
        let y = forward(&gpu, &g, &Map { tensor: x, affine: None }, &weight, false).unwrap().0;
        assert!(flat(&y).iter().all(|v| *v == 8.0 + 8.0 / 2048.0), "{choosing:?}: {}", flat(&y)[0]);
    }
}

#[test]
fn maps_of_too_many_elements_go_in_parts() {
    let Some(gpu) = gpu() else { return };
    let cases = [(Choosing::Heuristic, 37, 2250), (Choosing::Legacy, 38, 2250), (Choosing::Legacy, 39, 175)];
    for (choosing, images, most) in cases {
        let _anew = anew(choosing);
        let g = geometry(images, (5, 6), (4, 3), 3, 1);
        LIMITS.set(Limits { elements: most, ..LIMITS.get() });
        sets(c"elements", most as i64);
        for dtype in [DType::F32, DType::BF16] {
            Numbers::of(g, dtype).check(&format!("{images} images, {most} elements, {dtype:?}"), &gpu, dtype);
        }
        LIMITS.set(Limits { elements: 119, ..LIMITS.get() });
        cudnn::forget();
        let refused = Numbers::of(g, DType::F32).by_gpu(&gpu, DType::F32).unwrap_err().to_string();
        assert!(refused.contains("an image of 120 numbers"), "{refused}");
    }
}

#[test]
fn what_needs_too_much_workspace_goes_in_parts() {
    let Some(gpu) = gpu() else { return };
    for (choosing, images) in [(Choosing::Heuristic, 23), (Choosing::Timed, 24), (Choosing::Legacy, 25)] {
        let _anew = anew(choosing);
        if !sets(c"workspace_of_image", 100) {
            return;
        }
        LIMITS.set(Limits { workspace: 2000, ..LIMITS.get() });
        let all = Numbers::of(geometry(images, (4, 3), (8, 16), 3, 1), DType::F32);
        all.check(&format!("{choosing:?}"), &gpu, DType::F32);
        // A process that goes on with what was chosen takes the same parts, whatever it has room for.
        LIMITS.set(Limits { workspace: 1 << 30, ..LIMITS.get() });
        cudnn::forget();
        let count = || emulated(c"by_graphs", 0).unwrap() + emulated(c"by_algorithms", 0).unwrap();
        count();
        all.check(&format!("{choosing:?} again"), &gpu, DType::F32);
        assert!(count() > 4);
        LIMITS.set(Limits { workspace: 300, ..LIMITS.get() });
        cudnn::forget();
        let all = Numbers::of(geometry(images, (4, 5), (8, 16), 3, 1), DType::F32);
        let refused = all.by_gpu(&gpu, DType::F32).unwrap_err().to_string();
        assert!(refused.contains("within 0 MiB of workspace"), "{refused}");
    }
}

#[test]
fn only_what_is_used_is_asked_for() {
    let Some(gpu) = gpu() else { return };
    let _anew = anew(Choosing::Heuristic);
    if !sets(c"graphs", 0) || !sets(c"data", 0) {
        return;
    }
    let (g, device) = (geometry(3, (7, 5), (4, 8), 3, 1), Device::Cuda(gpu.0.clone()));
    let all = Numbers::of(g, DType::F32);
    let [x, w, dy] = [&all.x, &all.w, &all.dy].map(|t| t.to_device(&device).unwrap());
    let x = Map { tensor: x, affine: None };
    let [y, _, _, dw] = all.by_cpu();
    assert_close("output", &flat(&forward(&gpu, &g, &x, &w, false).unwrap().0), &y, 1e-5);
    assert_close("dw", &flat(&weight_gradient(&gpu, &g, &x, &dy).unwrap()), &dw, 1e-5);
    let refused = input_gradient(&gpu, &g, &dy, &w, None).unwrap_err().to_string();
    assert!(refused.contains("no deterministic Data of"), "{refused}");
}

#[test]
fn without_graphs_the_interface_before_them_is_used() {
    let Some(gpu) = gpu() else { return };
    for (choosing, images) in [(Choosing::Heuristic, 5), (Choosing::Timed, 6)] {
        let _anew = anew(choosing);
        if !sets(c"graphs", 0) {
            return;
        }
        sets(c"by_graphs", 0);
        sets(c"by_algorithms", 0);
        Numbers::of(geometry(images, (6, 7), (8, 8), 3, 2), DType::BF16).check("no graphs", &gpu, DType::BF16);
        assert_eq!(emulated(c"by_graphs", 0), Some(0));
        assert!(emulated(c"by_algorithms", 0).unwrap() >= 4);
    }
}

#[test]
fn maps_that_begin_anywhere_are_taken() {
    let Some(gpu) = gpu() else { return };
    let _anew = anew(Choosing::Heuristic);
    let (g, device) = (geometry(3, (3, 5), (3, 4), 3, 1), Device::Cuda(gpu.0.clone()));
    let all = Numbers::of(Geometry { n: g.n + 1, ..g }, DType::F32);
    let x = all.x.to_device(&device).unwrap().narrow(0, 1, g.n).unwrap();
    let y = forward(&gpu, &g, &Map { tensor: x, affine: None }, &all.w.to_device(&device).unwrap(), false).unwrap().0;
    assert_close("output", &flat(&y), &all.by_cpu()[0][g.oh * g.ow * g.o..], 1e-5);
}

#[test]
fn any_thread_may_compute() {
    let Some(gpu) = gpu() else { return };
    let all = Numbers::of(geometry(2, (5, 5), (8, 8), 3, 1), DType::F32);
    let device = Device::Cuda(gpu.0.clone());
    let (x, w) = (all.x.to_device(&device).unwrap(), all.w.to_device(&device).unwrap());
    let g = all.g;
    let y = std::thread::spawn(move || forward(&gpu, &g, &Map { tensor: x, affine: None }, &w, false).unwrap().0);
    assert_close("output", &flat(&y.join().unwrap()), &all.by_cpu()[0], 1e-5);
}

#[test]
fn a_run_goes_on_with_what_it_began_with() {
    let Some(gpu) = gpu() else { return };
    let _anew = anew(Choosing::Heuristic);
    if !sets(c"by_graphs", 0) {
        return;
    }
    let g = geometry(7, (7, 7), (8, 8), 3, 1);
    let name = |g: Geometry| {
        let library = Library::of(&gpu).unwrap();
        library.name(&Problem { direction: Direction::Forward, g, dtype: DType::BF16, aligned: true })
    };
    let all = Numbers::of(g, DType::BF16);
    all.check("chosen", &gpu, DType::BF16);
    // The emulated heuristics propose tile 1 first.
    let first = Choice::Graph { engine: 1, knobs: vec![(2, 1)] };
    assert_eq!(engines::chosen(&name(g)), Some(first.clone()));
    assert!(engines::export().contains(&format!("{} = {first}\n", name(g))));
    // Another process that takes up other choices.
    for (images, choice) in [(8, "graph 1 2:0"), (9, "legacy 1 1")] {
        let g = Geometry { n: images, ..g };
        engines::import(&format!("{} = {choice}\n", name(g))).unwrap();
        sets(c"by_algorithms", 0);
        Numbers::of(g, DType::BF16).check(choice, &gpu, DType::BF16);
        assert_eq!(engines::chosen(&name(g)).unwrap().to_string(), choice);
        assert_eq!(emulated(c"by_algorithms", 0), Some(i64::from(choice.starts_with("legacy"))));
    }
    for (images, choice) in [(10, "graph 1 2:7"), (11, "legacy 4 1"), (12, "graph 0 2:0")] {
        let g = Geometry { n: images, ..g };
        engines::import(&format!("{} = {choice}\n", name(g))).unwrap();
        let refused = Numbers::of(g, DType::BF16).by_gpu(&gpu, DType::BF16).unwrap_err().to_string();
        assert!(refused.contains(choice) && refused.contains("begin a new run"), "{refused}");
    }
}

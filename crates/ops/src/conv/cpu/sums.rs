//! Convolution: forward, gradient of the input, gradient of the weights.
//!
//! All three are sums over windows (see [`super::window`]). How work is cut depends on shapes alone, never on the number
//! of threads or on the processor: sums are taken in the same order always.

use super::layout::{total, transposed};
use super::window::{PIXELS, Source, Task, Windows};
use super::{outer, winograd};
use crate::conv::geometry::Geometry;
use crate::norm::cpu::{self as norm, Part};
use crate::products::{Maps, Pixels, Run, Segment};
use crate::simd::Element;
use crate::tensor::filled;
use rayon::prelude::*;

/// Weights (1 MiB) beyond which their gradient is cut by weights, not by images.
const MANY: usize = 1 << 18;
/// Floats of a page of memory.
const PAGE: usize = 1024;
/// Most groups of images whose partial sums are added up in order.
const GROUPS: usize = 16;

/// The windows of a forward pass.
fn windows(g: &Geometry) -> Windows {
    let Geometry { n, h, w, c, k, stride, before, oh, ow, .. } = *g;
    let before = before as isize;
    Windows { n, h, w, c, ky: k, kx: k, stride, top: before, left: before, rows: oh, cols: ow }
}

/// Where output pixels stand, in floats.
#[derive(Clone, Copy)]
struct Places {
    first: usize,
    col: usize,
    row: usize,
    image: usize,
}

/// The sums over windows of all images, in `out`; what `out` holds is added to where `accumulate`. With `moments` each
/// task takes the moments of its output while that is in cache.
fn sums<T: Maps>(
    windows: &Windows,
    source: Source<'_, T>,
    (panels, channels): (&T::Panels, usize),
    places: Places,
    out: &mut [T],
    (accumulate, moments): (bool, bool),
) -> Vec<Part> {
    let segments = windows.segments(source);
    // Tasks whose output is contiguous are independent; else those of an image go together.
    let contiguous = places.col * windows.cols == places.row;
    let mut items: Vec<(Vec<Task>, &mut [T])> = Vec::new();
    let mut rest = out;
    for task in windows.tasks(PIXELS) {
        match items.last_mut() {
            Some((tasks, _)) if !contiguous && tasks[0].image == task.image => tasks.push(task),
            _ => {
                let length = if contiguous { task.images * task.rows * places.row } else { task.images * places.image };
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(length);
                items.push((vec![task], head));
                rest = tail;
            }
        }
    }
    let step = windows.stride * windows.c;
    let each = |(tasks, out): (Vec<Task>, &mut [T])| {
        for task in &tasks {
            let first = if contiguous { 0 } else { task.row * places.row };
            let place = |image, row| places.first + image * places.image + first + row * places.row;
            windows.with_padded(source, *task, place, |padded, runs| {
                let pixels = Pixels { padded, runs, step };
                T::products(pixels, &segments, panels, (out, places.col), accumulate);
            });
        }
        moments.then(|| norm::part(out, channels))
    };
    let parts: Vec<Option<Part>> = items.into_par_iter().map(each).collect();
    parts.into_iter().flatten().collect()
}

/// The map as f32, normalised: what is computed with where nothing multiplies the map's own numbers.
fn plain<T: Element>(source: Source<'_, T>) -> Vec<f32> {
    let map = widened(source.map);
    match source.affine {
        Some(affine) => affine.forward(&map, None, true),
        None => map,
    }
}

fn widened<T: Element>(map: &[T]) -> Vec<f32> {
    map.par_iter().with_min_len(4096).map(|v| v.to_f32()).collect()
}

fn narrowed<T: Element>(map: &[f32]) -> Vec<T> {
    map.par_iter().with_min_len(4096).map(|v| T::of_f32(*v)).collect()
}

/// `[N, H, W, C]` by weights `[O, K, K, C]` to `[N, OH, OW, O]`, and the moments of its parts where they are wanted.
pub fn forward<T: Maps>(g: &Geometry, source: Source<'_, T>, weight: &[f32], moments: bool) -> (Vec<T>, Vec<Part>) {
    if !T::available() {
        let out = narrowed(&forward(g, Source { map: &plain(source), affine: None }, weight, false).0);
        let parts = if moments { norm::parts(&out, g.o) } else { Vec::new() };
        return (out, parts);
    }
    if T::SAVES_PRODUCTS && winograd::serves(g) {
        return winograd::forward(g, source, weight, moments);
    }
    let (depth, mut parts) = (g.patch(), Vec::new());
    let panels = T::panels_of_columns(weight, g.o, depth);
    let windows = windows(g).flattened();
    let row = windows.cols * g.o;
    let places = Places { first: 0, col: g.o, row, image: windows.rows * row };
    let out = filled(g.pixels() * g.o, |out| {
        parts = sums(&windows, source, (&panels, g.o), places, out, (false, moments));
    });
    (out, parts)
}

/// Gradient of the input, `[N, H, W, C]`, from that of the output, `[N, OH, OW, O]`; added to `sum` where there is one.
pub fn input_gradient<T: Maps>(g: &Geometry, dy: &[T], weight: &[f32], sum: Option<&mut [T]>) -> Option<Vec<T>> {
    if !T::available() {
        let dx = input_gradient(g, &widened(dy), weight, None).unwrap_or_default();
        let Some(sum) = sum else { return Some(narrowed(&dx)) };
        sum.par_iter_mut().zip(dx).with_min_len(4096).for_each(|(s, d)| *s = T::of_f32(s.to_f32() + d));
        return None;
    }
    match sum {
        Some(sum) => {
            add_input_gradient(g, dy, weight, sum, true);
            None
        }
        None => Some(filled(g.n * g.h * g.w * g.c, |dx| add_input_gradient(g, dy, weight, dx, false))),
    }
}

fn add_input_gradient<T: Maps>(g: &Geometry, dy: &[T], weight: &[f32], dx: &mut [T], accumulate: bool) {
    if T::SAVES_PRODUCTS && winograd::serves(g) {
        return winograd::input_gradient(g, dy, weight, dx, accumulate);
    }
    if g.k < g.stride && !accumulate {
        // Pixels between the windows feel nothing.
        dx.par_chunks_mut(1 << 15).for_each(|dx| dx.fill(T::of_f32(0.0)));
    }
    // Along one axis: input position `s i + p` meets kernel positions `r, r + s, ...`, the last of them first.
    let axis = |p: usize, size: usize| {
        let (r, q) = ((p + g.before) % g.stride, (p + g.before) / g.stride);
        let taps = if r < g.k { (g.k - 1 - r) / g.stride + 1 } else { 0 };
        (r, taps, taps as isize - 1 - q as isize, size.saturating_sub(p).div_ceil(g.stride))
    };
    for (py, px) in (0..g.stride).flat_map(|y| (0..g.stride).map(move |x| (y, x))) {
        let ((ry, ky, top, rows), (rx, kx, left, cols)) = (axis(py, g.h), axis(px, g.w));
        if ky * kx * rows * cols == 0 {
            continue;
        }
        let panels = T::panels_of_rows(ky * kx * g.o, g.c, |d| {
            let (u, v, o) = (d / (kx * g.o), d / g.o % kx, d % g.o);
            let (y, x) = (ry + g.stride * (ky - 1 - u), rx + g.stride * (kx - 1 - v));
            &weight[((o * g.k + y) * g.k + x) * g.c..][..g.c]
        });
        let windows = Windows { n: g.n, h: g.oh, w: g.ow, c: g.o, ky, kx, stride: 1, top, left, rows, cols };
        let windows = if g.stride == 1 { windows.flattened() } else { windows };
        let row = g.stride * g.w * g.c;
        let mut places = Places { first: (py * g.w + px) * g.c, col: g.stride * g.c, row, image: g.h * g.w * g.c };
        if g.stride == 1 {
            (places.row, places.image) = (windows.cols * g.c, windows.rows * windows.cols * g.c);
        }
        let source = Source { map: dy, affine: None };
        sums(&windows, source, (&panels, g.c), places, dx, (accumulate, false));
    }
}

/// Gradient of the weights, `[O, K, K, C]`.
pub fn weight_gradient<T: Maps>(g: &Geometry, source: Source<'_, T>, dy: &[T]) -> Vec<f32> {
    if !T::available() {
        return weight_gradient(g, Source { map: &plain(source), affine: None }, &widened(dy));
    }
    if T::SAVES_PRODUCTS && winograd::serves(g) {
        return winograd::weight_gradient(g, source, dy);
    }
    let windows = windows(g).flattened();
    if T::SAVES_PRODUCTS && outer::serves(g) {
        return outer::weight_gradient(g, windows, source, dy);
    }
    let (tasks, segments, size) = (windows.tasks(PIXELS), windows.segments(source), g.o * g.patch());
    let (step, o) = (windows.stride * windows.c, g.o);
    let dy_of = |task: &Task| &dy[windows.first(task) * o..][..windows.pixels(task) * o];
    if size > MANY {
        return by_weights(&windows, source, (&tasks, &segments), (step, o), dy_of);
    }
    let each = tasks.len().div_ceil(GROUPS);
    let group = |tasks: &[Task]| {
        let mut sum = T::outer(g.patch(), o);
        for task in tasks {
            windows.with_padded(
                source,
                *task,
                |_, _| 0,
                |padded, runs| {
                    let (pixels, dy) = (Pixels { padded, runs, step }, T::gradients(dy_of(task), o));
                    let mut done = 0;
                    for segment in &segments {
                        T::add_outer(&mut sum, pixels, &dy, *segment, done);
                        done += segment.depth;
                    }
                },
            );
        }
        T::finished(sum)
    };
    let partials: Vec<Vec<f32>> = tasks.par_chunks(each).map(group).collect();
    let sum = total(partials, size);
    transposed(size / o, o, |first| sum.chunks_exact(o).map(move |row| &row[first..]))
}

/// The weight gradient where the weights are many: each piece of work takes some of them through all images.
fn by_weights<'a, T: Maps>(
    windows: &Windows,
    source: Source<'_, T>,
    (tasks, segments): (&[Task], &[Segment]),
    (step, o): (usize, usize),
    dy_of: impl Fn(&Task) -> &'a [T] + Sync,
) -> Vec<f32> {
    let prepared: Vec<(Vec<T>, Vec<Run>, Vec<T>)> = tasks
        .par_iter()
        .map(|task| {
            let dy = T::gradients(dy_of(task), o);
            windows.with_padded(source, *task, |_, _| 0, |padded, runs| (padded.to_vec(), runs.to_vec(), dy))
        })
        .collect();
    let most = windows.depth().div_ceil(GROUPS).clamp(48, 192);
    let cut = |s: &Segment| {
        let (offset, depth, count) = (s.offset, s.depth, s.depth.div_ceil(most));
        (0..count).map(move |i| Segment {
            offset: offset + depth * i / count,
            depth: depth * (i + 1) / count - depth * i / count,
        })
    };
    let pieces: Vec<Segment> = segments.iter().flat_map(cut).collect();
    let one = |piece: &Segment| {
        let (mut sum, mut near) = (T::outer(piece.depth, o), Vec::new());
        for (padded, runs, dy) in &prepared {
            if step < PAGE {
                T::add_outer(&mut sum, Pixels { padded, runs, step }, dy, *piece, 0);
                continue;
            }
            // These weights' part of all windows is brought together first: windows that lie pages apart cost a walk
            // through the page tables each.
            near.clear();
            for run in runs {
                let window = |i| &padded[run.source + i * step + piece.offset..][..piece.depth];
                (0..run.len).for_each(|i| near.extend_from_slice(window(i)));
            }
            let whole = [Run { source: 0, out: 0, len: near.len() / piece.depth }];
            let pixels = Pixels { padded: &near, runs: &whole, step: piece.depth };
            T::add_outer(&mut sum, pixels, dy, Segment { offset: 0, depth: piece.depth }, 0);
        }
        T::finished(sum)
    };
    let sum = pieces.par_iter().map(one).collect::<Vec<_>>().concat();
    transposed(windows.depth(), o, |first| sum.chunks_exact(o).map(move |row| &row[first..]))
}

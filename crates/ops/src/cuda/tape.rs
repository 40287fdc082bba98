//! The crate's operations for tensors on a GPU, recorded on the tape. Shapes have been checked by those who call.

use super::gpu::{Gpu, at};
use super::machine::{Machine, Number};
use super::norm::Affine;
use super::pool::Streams;
use super::{gate, loss, norm, pool};
use crate::contrastive::{NtXent, retrieval};
use crate::cpu::by_element;
use crate::cpu::pool::Window;
use crate::norm::{Fused, Moments, Statistics};
use crate::tape::{Tape, Value};
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{D, Result, Tensor, bail};

/// `sum += term`.
///
/// # Errors
/// When memory is elsewhere.
pub fn add_assign(sum: &Tensor, term: &Tensor) -> Result<()> {
    let gpu = Gpu::of(sum)?;
    by_element!(sum, T => gate::add_assign(&gpu, sum.elem_count(), at::<T>(sum)?, at::<T>(term)?))
}

/// As [`crate::batch_norm`].
///
/// # Errors
/// When memory is short.
pub fn batch_norm(
    tape: &Tape,
    x: &Value,
    [gamma, beta]: [Option<&Value>; 2],
    statistics: &Statistics,
    eps: f32,
    fused: Fused<'_>,
) -> Result<(Value, Option<Moments>)> {
    by_element!(x.tensor(), T => normalised::<T>(tape, x, [gamma, beta], statistics, eps, fused))
}

fn normalised<T: Number>(
    tape: &Tape,
    x: &Value,
    [gamma, beta]: [Option<&Value>; 2],
    statistics: &Statistics,
    eps: f32,
    fused: Fused<'_>,
) -> Result<(Value, Option<Moments>)> {
    let (gpu, input) = (Gpu::of(x.tensor())?, x.tensor().clone());
    let c = input.dim(D::Minus1)?;
    let rows = input.elem_count() / c;
    let (batch, [mean, var]) = match statistics {
        Statistics::Running(mean, var) => (false, [mean.clone(), var.clone()]),
        Statistics::Batch => {
            let found = norm::moments(&gpu, at::<T>(&input)?, (rows, c))?;
            (true, [gpu.tensor(found.mean, c), gpu.tensor(found.var, c)])
        }
    };
    let learned = |v: Option<&Value>| v.map(|v| at::<f32>(v.tensor())).transpose();
    let affine: Affine<Gpu> = norm::affine(&gpu, [at(&mean)?, at(&var)?], [learned(gamma)?, learned(beta)?], eps, c)?;
    let added = fused.residual.map(|r| at::<T>(r.tensor())).transpose()?;
    let (out, to) = gpu.new_tensor::<T>(input.shape())?;
    affine.forward(&gpu, at(&input)?, added, fused.relu, (to, rows))?;

    let inputs: Vec<&Value> = [Some(x), gamma, beta, fused.residual].into_iter().flatten().collect();
    let (x_node, gamma_node, beta_node) = (x.node(), gamma.and_then(Value::node), beta.and_then(Value::node));
    let (residual, relu) = (fused.residual.and_then(Value::node), fused.relu);
    let saved_y = (relu && fused.residual.is_some()).then(|| out.clone());
    let kept = mean.clone();
    let value = tape.record(&inputs, out, move |dy, gradients| {
        let y = saved_y.as_ref().map(at::<T>).transpose()?;
        let dx = if residual.is_some() { gpu.new_tensor::<T>(input.shape())?.0 } else { dy.clone() };
        let maps = [at::<T>(&dy)?, at::<T>(&dx)?];
        let [d_gamma, d_beta] = affine.backward(&gpu, (at(&input)?, rows), y, maps, (relu, batch))?;
        drop(kept);
        gradients.add(gamma_node, gpu.tensor(d_gamma, c))?;
        gradients.add(beta_node, gpu.tensor(d_beta, c))?;
        if residual.is_some() {
            gradients.add(residual, dy)?;
        }
        gradients.add(x_node, dx)
    });
    Ok((value, batch.then(|| Moments::on_gpu([mean, var]))))
}

/// Moves a running statistic towards the batch's.
///
/// # Errors
/// When memory is elsewhere.
pub fn blend(running: &Tensor, batch: &Tensor, keep: f32) -> Result<()> {
    norm::blend(&Gpu::of(running)?, at(running)?, at(batch)?, keep, running.elem_count())
}

/// As [`crate::max_pool2d`].
///
/// # Errors
/// When memory is short.
pub fn max_pool2d(tape: &Tape, x: &Value, n: usize, window: Window) -> Result<Value> {
    fn run<T: Number>(tape: &Tape, x: &Value, n: usize, window: Window) -> Result<Value> {
        let (gpu, saved_x, node) = (Gpu::of(x.tensor())?, x.tensor().clone(), x.node());
        let (out, to) = gpu.new_tensor::<T>((n, window.oh, window.ow, window.c))?;
        pool::max(&gpu, n, &window, at::<T>(&saved_x)?, to)?;
        let saved_y = out.clone();
        Ok(tape.record(&[x], out, move |dy, gradients| {
            let (dx, to) = gpu.new_tensor::<T>(saved_x.shape())?;
            pool::max_gradient(&gpu, n, &window, [at(&saved_x)?, at(&saved_y)?, at(&dy)?, to])?;
            gradients.add(node, dx)
        }))
    }
    by_element!(x.tensor(), T => run::<T>(tape, x, n, window))
}

/// As [`crate::avg_pool2d`]; `all`: padding counts.
///
/// # Errors
/// When memory is short.
pub fn avg_pool2d(tape: &Tape, x: &Value, n: usize, window: Window, all: bool) -> Result<Value> {
    fn run<T: Number>(tape: &Tape, x: &Value, n: usize, window: Window, all: bool) -> Result<Value> {
        let (gpu, shape, node) = (Gpu::of(x.tensor())?, x.tensor().shape().clone(), x.node());
        let (out, to) = gpu.new_tensor::<T>((n, window.oh, window.ow, window.c))?;
        pool::average(&gpu, n, &window, all, at::<T>(x.tensor())?, to)?;
        Ok(tape.record(&[x], out, move |dy, gradients| {
            let (dx, to) = gpu.new_tensor::<T>(shape)?;
            pool::average_gradient(&gpu, n, &window, all, at(&dy)?, to)?;
            gradients.add(node, dx)
        }))
    }
    by_element!(x.tensor(), T => run::<T>(tape, x, n, window, all))
}

/// Means over pixels, streams added: [`crate::global_avg_pool`], [`crate::stream_mean`].
///
/// # Errors
/// When memory is short.
pub fn pixel_mean(tape: &Tape, x: &Value, s: Streams) -> Result<Value> {
    fn run<T: Number>(tape: &Tape, x: &Value, s: Streams) -> Result<Value> {
        let (gpu, shape, node) = (Gpu::of(x.tensor())?, x.tensor().shape().clone(), x.node());
        let (out, to) = gpu.new_tensor::<f32>((s.n, s.f))?;
        pool::mean(&gpu, s, at::<T>(x.tensor())?, to)?;
        Ok(tape.record(&[x], out, move |dy, gradients| {
            let (dx, to) = gpu.new_tensor::<T>(shape)?;
            pool::mean_gradient(&gpu, s, at(&dy)?, to)?;
            gradients.add(node, dx)
        }))
    }
    by_element!(x.tensor(), T => run::<T>(tape, x, s))
}

/// As [`crate::add_relu`].
///
/// # Errors
/// When memory is short.
pub fn add_relu(tape: &Tape, x: &Value, residual: Option<&Value>) -> Result<Value> {
    fn run<T: Number>(tape: &Tape, x: &Value, residual: Option<&Value>) -> Result<Value> {
        let (gpu, len) = (Gpu::of(x.tensor())?, x.tensor().elem_count());
        let (out, to) = gpu.new_tensor::<T>(x.tensor().shape())?;
        let added = residual.map(|r| at::<T>(r.tensor())).transpose()?;
        gate::add_relu(&gpu, len, at(x.tensor())?, added, to)?;
        let (saved, x_node, r_node) = (out.clone(), x.node(), residual.and_then(Value::node));
        Ok(tape.record(&[x, residual.unwrap_or(x)], out, move |dy, gradients| {
            gate::mask(&gpu, len, at::<T>(&saved)?, at(&dy)?)?;
            if r_node.is_some() {
                gradients.add(r_node, dy.copy()?)?;
            }
            gradients.add(x_node, dy)
        }))
    }
    by_element!(x.tensor(), T => run::<T>(tape, x, residual))
}

/// Maps under gates: [`crate::sigmoid_gate`] of one stream, [`crate::stream_select`] of two; `shape` is the output's.
///
/// # Errors
/// When memory is short.
pub fn gated(tape: &Tape, x: &Value, logits: &Value, s: Streams, shape: (usize, usize, usize, usize)) -> Result<Value> {
    fn run<T: Number>(
        tape: &Tape,
        x: &Value,
        logits: &Value,
        s: Streams,
        shape: (usize, usize, usize, usize),
    ) -> Result<Value> {
        let (gpu, saved) = (Gpu::of(x.tensor())?, x.tensor().clone());
        let open = gate::open(&gpu, s, at(logits.tensor())?)?;
        let (out, to) = gpu.new_tensor::<T>(shape)?;
        match s.streams {
            1 => gate::scale(&gpu, s, at::<T>(&saved)?, gpu.at(&open), to)?,
            _ => gate::select(&gpu, s, at::<T>(&saved)?, gpu.at(&open), to)?,
        }
        let (x_node, logits_node, logits_shape) = (x.node(), logits.node(), logits.tensor().shape().clone());
        Ok(tape.record(&[x, logits], out, move |dy, gradients| {
            let (dx, to) = gpu.new_tensor::<T>(saved.shape())?;
            let (x_at, dy_at, open) = (at::<T>(&saved)?, at::<T>(&dy)?, gpu.at(&open));
            let d_logits = if s.streams == 1 {
                gate::scale(&gpu, s, dy_at, open, to)?;
                gate::scale_gradient(&gpu, s, [x_at, dy_at], open)?
            } else {
                gate::select_gradient(&gpu, s, [x_at, dy_at, to], open)?
            };
            gradients.add(x_node, dx)?;
            gradients.add(logits_node, gpu.tensor(d_logits, logits_shape))
        }))
    }
    by_element!(x.tensor(), T => run::<T>(tape, x, logits, s, shape))
}

/// A scalar whose gradient with respect to `input` is `gradient` times what flows in.
fn scalar(tape: &Tape, input: &Value, loss: Tensor, gradient: Tensor) -> Value {
    let node = input.node();
    tape.record(&[input], loss, move |dy, gradients| {
        loss::scale_by(&Gpu::of(&gradient)?, at(&gradient)?, gradient.elem_count(), at(&dy)?)?;
        gradients.add(node, gradient)
    })
}

fn recorded(tape: &Tape, input: &Value, found: loss::Loss<Gpu>) -> Result<Value> {
    let gpu = Gpu::of(input.tensor())?;
    Ok(scalar(tape, input, gpu.tensor(found.loss, ()), gpu.tensor(found.gradient, input.tensor().shape())))
}

/// Labels as kernels know them: -1 for none.
fn numbered(gpu: &Gpu, labels: &[Option<u32>]) -> Result<CudaSlice<i32>> {
    gpu.upload(&labels.iter().map(|l| l.map_or(-1, |l| l as i32)).collect::<Vec<_>>())
}

/// As [`crate::accuracy`]; `known` rows have a label.
///
/// # Errors
/// When memory is short.
pub fn accuracy(logits: &Tensor, labels: &[Option<u32>], k: usize, known: usize) -> Result<Tensor> {
    let gpu = Gpu::of(logits)?;
    let labels = numbered(&gpu, labels)?;
    Ok(gpu.tensor(loss::accuracy(&gpu, at(logits)?, logits.dims2()?, gpu.at(&labels), (k, known))?, ()))
}

/// As [`crate::partial_cross_entropy`].
///
/// # Errors
/// When memory is short.
pub fn cross_entropy(tape: &Tape, logits: &Value, labels: &[Option<u32>]) -> Result<Value> {
    let gpu = Gpu::of(logits.tensor())?;
    let labels = numbered(&gpu, labels)?;
    let found = loss::cross_entropy(&gpu, at(logits.tensor())?, logits.tensor().dims2()?, gpu.at(&labels))?;
    recorded(tape, logits, found)
}

/// As [`crate::distillation`].
///
/// # Errors
/// When memory is short.
pub fn distillation(tape: &Tape, student: &Value, teacher: &Value, temperature: f64) -> Result<Value> {
    let (gpu, pair) = (Gpu::of(student.tensor())?, [at(student.tensor())?, at(teacher.tensor())?]);
    recorded(tape, student, loss::distillation(&gpu, pair, student.tensor().dims2()?, temperature)?)
}

/// As [`crate::nt_xent`].
///
/// # Errors
/// When the number of rows is odd or below 4.
pub fn nt_xent(tape: &Tape, hidden: &Value, temperature: f64, normalize: bool) -> Result<NtXent> {
    let gpu = Gpu::of(hidden.tensor())?;
    let (rows, d) = hidden.tensor().dims2()?;
    if rows % 2 != 0 || rows < 4 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let [z, norms] = loss::unit_rows(&gpu, at(hidden.tensor())?, (rows, d), normalize)?;
    let (z, norms) = (gpu.tensor(z, (rows, d)), gpu.tensor(norms, rows));
    // In f32: candle lets cuBLAS use TF32 only where it is told to.
    let p = z.matmul(&z.t()?)?;
    let images = rows / 2;
    let place = loss::Place { images, own: images, rank: 0 };
    let [total, ab] = loss::nt_xent(&gpu, at(&p)?, place, temperature)?;
    let gradient = p.t()?.matmul(&z)?;
    add_assign(&gradient, &p.matmul(&z)?)?;
    if normalize {
        loss::unit_rows_gradient(&gpu, [at(&z)?, at(&norms)?], (rows, d), at(&gradient)?)?;
    }
    let entropy = gpu.tensor(loss::mean_entropy(&gpu, gpu.at(&ab), images)?, ());
    let logits_ab = gpu.tensor(ab, (images, images));
    let accuracy = retrieval(&logits_ab)?;
    Ok(NtXent { loss: scalar(tape, hidden, gpu.tensor(total, ()), gradient), accuracy, entropy, logits_ab })
}

/// Adds a bias to every row, in place.
///
/// # Errors
/// When memory is elsewhere.
pub fn add_bias(out: &Tensor, bias: &Tensor) -> Result<()> {
    loss::add_bias(&Gpu::of(out)?, at(out)?, out.dims2()?, at(bias)?)
}

/// The sums of the columns of `[R, C]`: the gradient of a bias.
///
/// # Errors
/// When memory is short.
pub fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let (gpu, (rows, c)) = (Gpu::of(x)?, x.dims2()?);
    Ok(gpu.tensor(loss::sum_rows(&gpu, at(x)?, (rows, c))?, c))
}

/// As [`crate::weighted_sum`].
///
/// # Errors
/// When values are not all on one GPU.
pub fn weighted_sum(tape: &Tape, terms: &[(f64, &Value)]) -> Result<Value> {
    let mut total: Option<Tensor> = None;
    for (factor, loss) in terms {
        let term = loss.tensor().affine(*factor, 0.0)?;
        total = Some(match total {
            Some(total) => (total + term)?,
            None => term,
        });
    }
    let Some(total) = total else { bail!("weighted_sum: no terms") };
    let inputs: Vec<&Value> = terms.iter().map(|(_, v)| *v).collect();
    let nodes: Vec<_> = terms.iter().map(|(factor, v)| (*factor, v.node())).collect();
    Ok(tape.record(&inputs, total, move |dy, gradients| {
        for (factor, node) in nodes {
            gradients.add(node, dy.affine(factor, 0.0)?)?;
        }
        Ok(())
    }))
}

/// As [`crate::join_views`].
///
/// # Errors
/// When parts are not all on one GPU.
pub fn join_views(tape: &Tape, parts: &[Value]) -> Result<Value> {
    let sizes = parts.iter().map(|p| Ok(p.tensor().dim(0)? / 2)).collect::<Result<Vec<usize>>>()?;
    let half = |view: usize| parts.iter().zip(&sizes).map(move |(p, n)| p.tensor().narrow(0, view * n, *n));
    let rows = half(0).chain(half(1)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&Value> = parts.iter().collect();
    let nodes: Vec<_> = parts.iter().map(Value::node).collect();
    let images: usize = sizes.iter().sum();
    Ok(tape.record(&inputs, Tensor::cat(&rows, 0)?, move |dy, gradients| {
        let mut start = 0;
        for (node, n) in nodes.into_iter().zip(sizes) {
            let part = Tensor::cat(&[dy.narrow(0, start, n)?, dy.narrow(0, images + start, n)?], 0)?;
            gradients.add(node, part)?;
            start += n;
        }
        Ok(())
    }))
}

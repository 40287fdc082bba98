//! The one check of the numbers that a network is filled from, or handed on as: floats, finite, variances not negative.

use crate::fit::short;
use anyhow::{Result, bail};
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use rayon::prelude::*;

/// Numbers that one thread looks at in one go.
const AT_ONCE: usize = 1 << 16;

/// Checks named tensors, of which those with `true` are variances: all hold floats, every number is finite (as f32, too, in
/// which networks compute), and no variance is negative. One pass over the numbers, on all cores.
///
/// # Errors
/// The message names the first tensor that is none such, what it holds and where, and how many others there are. What the
/// tensors are and where they come from is for the caller to say.
pub fn check<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor, bool)>) -> Result<()> {
    let tensors: Vec<_> = tensors.into_iter().collect();
    let faults = tensors.par_iter().map(|(name, tensor, variance)| fault(name, tensor, *variance));
    let faults: Vec<String> = faults.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    match &faults[..] {
        [] => Ok(()),
        [only] => bail!("{only}"),
        [first, others @ ..] => bail!("{first}; so are {} other tensors no weights", others.len()),
    }
}

/// What is wrong with a tensor.
fn fault(name: &str, tensor: &Tensor, variance: bool) -> Result<Option<String>> {
    let (name, dtype) = (&short(&name), tensor.dtype());
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
        return Ok(Some(format!("{name} holds numbers of type {dtype:?}: weights are F32, F16, BF16 or F64")));
    }
    // Where they are on the CPU and in order, both give the same tensor.
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().unwrap_or_default();
    let Storage::Cpu(storage) = &*storage else { bail!("{name} cannot be read") };
    Ok(match storage {
        CpuStorage::F32(data) => worst(name, &data[start..end], variance, |x| *x),
        CpuStorage::F16(data) => worst(name, &data[start..end], variance, |x| x.to_f32()),
        CpuStorage::BF16(data) => worst(name, &data[start..end], variance, |x| x.to_f32()),
        CpuStorage::F64(data) => worst(name, &data[start..end], variance, |x| *x as f32),
        _ => None,
    })
}

fn worst<T: Sync>(name: &str, data: &[T], variance: bool, number: impl Fn(&T) -> f32 + Sync) -> Option<String> {
    let finite = |x: &T| number(x).is_finite();
    let told = |what: &str, is: &(dyn Fn(&T) -> bool + Sync)| {
        let wrong: usize = data.par_chunks(AT_ONCE).map(|part| part.iter().filter(|x| !is(x)).count()).sum();
        let first = (wrong > 0).then(|| data.iter().position(|x| !is(x)))??;
        let value = number(&data[first]);
        Some(format!("{name}: {wrong} of {} numbers {what}, the first is {value} at {first}", data.len()))
    };
    told("are not finite", &finite).or_else(|| {
        let positive = |x: &T| number(x) >= 0.0;
        variance.then(|| told("are negative, and it is a variance", &positive))?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(tensors: &[(&str, &Tensor, bool)]) -> String {
        check(tensors.iter().copied()).unwrap_err().to_string()
    }

    #[test]
    fn what_no_network_has_is_named() {
        let tensor = |numbers: Vec<f64>, dtype| Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let long = |at: usize, value: f64, dtype| {
            let mut numbers = vec![0.25; 3 * AT_ONCE];
            numbers[at..].fill(value);
            tensor(numbers, dtype)
        };
        let last = 3 * AT_ONCE - 1;
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            check([("a", &long(last, -0.0, dtype), true), ("b", &long(last, -1.0, dtype), false)]).unwrap();
            let expected = format!("a: 2 of 196608 numbers are not finite, the first is NaN at {}", last - 1);
            assert_eq!(message(&[("a", &long(last - 1, f64::NAN, dtype), false)]), expected);
            let negative = message(&[("b", &long(last, -0.5, dtype), true)]);
            assert_eq!(
                negative,
                format!("b: 1 of 196608 numbers are negative, and it is a variance, the first is -0.5 at {last}")
            );
        }
        // Finite where it is stored, and not in f32.
        let large = tensor(vec![1.0, 1e300], DType::F64);
        assert!(message(&[("c", &large, false)]).contains("the first is inf at 1"));
        let whole = tensor(vec![1.0, 2.0], DType::U8);
        assert!(message(&[("d", &whole, false)]).starts_with("d holds numbers of type U8: weights are F32"));
        // Neither a view nor its order misleads.
        let view = tensor(vec![f64::NAN, 1.0, 2.0, 3.0], DType::F32).reshape((2, 2)).unwrap().narrow(0, 1, 1).unwrap();
        check([("view", &view, true), ("turned", &view.t().unwrap(), true)]).unwrap();
        assert!(message(&[("c", &large, false), ("d", &whole, false)]).ends_with("so are 1 other tensors no weights"));
    }
}

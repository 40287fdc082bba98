//! Losses over rows on the emulated GPU.
#![allow(clippy::unwrap_used)]

use super::gpu::{launch_cross_entropy, launch_distillation};
use super::{distillation, partial_cross_entropy};
use crate::tape::Value;
use crate::tensor::gpu::launch_scale_by;
use crate::testing::emulated::{Emulated, assert_close, at, elements, in_any_order, numbers, on_the_cpu, tensor, up};

fn classes(rows: usize, d: usize) {
    let (logits, factor) = (numbers::<f32>(rows * d, 1), 0.25f32);
    let labels: Vec<Option<u32>> = (0..rows).map(|i| (i % 3 != 2).then_some((i * 5 % d) as u32)).collect();
    let dy = tensor(&[factor], ());
    let (want, gradients) =
        on_the_cpu(&[tensor(&logits, (rows, d))], &dy, |tape, v| partial_cross_entropy(tape, &v[0], &labels));
    let numbers: Vec<i32> = labels.iter().map(|l| l.map_or(-1, |l| l as i32)).collect();
    let (value, gradient) = in_any_order(|| {
        let m = Emulated::get();
        let found = launch_cross_entropy(m, at(&up(&logits)), (rows, d), at(&up(&numbers))).unwrap();
        launch_scale_by(m, at(&found.gradient), rows * d, at(&up(&[factor]))).unwrap();
        (found.loss.numbers(), found.gradient.numbers())
    });
    assert_close("cross entropy", &value, &elements::<f32>(&want));
    assert_close("gradient of cross entropy", &gradient, &elements::<f32>(&gradients[0]));
}

fn teacher(rows: usize, d: usize, temperature: f64) {
    let (student, teacher) = (numbers::<f32>(rows * d, 1), numbers::<f32>(rows * d, 2));
    let one = tensor(&[1.0f32], ());
    let (want, gradients) = on_the_cpu(&[tensor(&student, (rows, d))], &one, |tape, v| {
        distillation(tape, &v[0], &Value::constant(tensor(&teacher, (rows, d))), temperature)
    });
    let (value, gradient) = in_any_order(|| {
        let pair = [up(&student), up(&teacher)];
        let found = launch_distillation(Emulated::get(), [at(&pair[0]), at(&pair[1])], (rows, d), temperature).unwrap();
        (found.loss.numbers(), found.gradient.numbers())
    });
    assert_close("distillation", &value, &elements::<f32>(&want));
    assert_close("gradient of distillation", &gradient, &elements::<f32>(&gradients[0]));
}

#[test]
fn as_on_the_cpu() {
    for (rows, d) in [(1, 2), (4, 10), (7, 300)] {
        classes(rows, d);
        teacher(rows, d, 2.0);
    }
}

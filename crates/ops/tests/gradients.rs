//! Every op against finite differences, and against candle's own forward and autograd where candle has the op.
#![allow(clippy::unwrap_used, missing_docs)]

mod numbers;

use candle_core::{Device, Result, Tensor, Var};
use numbers::{assert_close, device, flat, numbers, on_device};
use simclr_ops::*;

type Op<'a> = &'a dyn Fn(&Tape, &[Value]) -> Result<Value>;

/// Gradients of `sum(op(inputs) * c)` by the tape, `c` being fixed numbers.
fn tape_gradients(op: Op<'_>, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let (tape, inputs) = (Tape::new(), inputs.iter().map(on_device).collect::<Vec<_>>());
    let values: Vec<Value> = inputs.iter().map(|t| tape.leaf(t)).collect();
    let out = op(&tape, &values).unwrap();
    let c = on_device(&numbers(out.tensor().dims(), 99));
    let store = tape.backward_from(&[(&out, c)]).unwrap();
    inputs.iter().map(|t| flat(store.get(t).unwrap())).collect()
}

fn constant(t: &Tensor) -> Value {
    Value::constant(on_device(t))
}

fn objective(op: Op<'_>, inputs: &[Tensor]) -> f64 {
    let values: Vec<Value> = inputs.iter().map(constant).collect();
    let out = op(&Tape::inference(), &values).unwrap();
    let c = numbers(out.tensor().dims(), 99);
    flat(out.tensor()).iter().zip(flat(&c)).map(|(a, b)| *a as f64 * b as f64).sum()
}

fn check(what: &str, inputs: &[Tensor], op: Op<'_>) {
    let gradients = tape_gradients(op, inputs);
    for (i, input) in inputs.iter().enumerate() {
        let base = flat(input);
        let step = 1e-2f32;
        let picks: Vec<usize> = (0..base.len()).step_by((base.len() / 40).max(1)).collect();
        let moved = |at: usize, by: f32| {
            let mut data = base.clone();
            data[at] += by;
            let mut all = inputs.to_vec();
            all[i] = Tensor::from_vec(data, input.shape(), &Device::Cpu).unwrap();
            objective(op, &all)
        };
        let numeric: Vec<f32> =
            picks.iter().map(|&p| ((moved(p, step) - moved(p, -step)) / (2.0 * step as f64)) as f32).collect();
        let ours: Vec<f32> = picks.iter().map(|&p| gradients[i][p]).collect();
        assert_close(&format!("{what}, gradient of input {i} by differences"), &ours, &numeric, 1e-2);
    }
}

#[test]
fn convolutions() {
    let cases = [
        (5, 7, 3, 4, 3, 1, Padding::Fixed),
        (6, 5, 16, 16, 3, 1, Padding::Fixed),
        (7, 7, 3, 5, 3, 2, Padding::Fixed),
        (8, 6, 4, 3, 3, 2, Padding::Fixed),
        (9, 9, 2, 3, 7, 2, Padding::Fixed),
        (6, 6, 5, 2, 1, 1, Padding::Valid),
        (7, 7, 5, 2, 1, 2, Padding::Valid), // candle's own gradient needs equal remainders in both directions
        (6, 6, 2, 3, 3, 1, Padding::Valid),
        (6, 6, 2, 3, 3, 1, Padding::Explicit(2)),
        (6, 6, 2, 3, 3, 1, Padding::Explicit(4)),
        (6, 7, 2, 3, 2, 1, Padding::Fixed),
        (40, 40, 3, 8, 3, 1, Padding::Fixed),
        (7, 21, 3, 16, 3, 1, Padding::Fixed),
        (9, 19, 16, 32, 3, 1, Padding::Fixed),
        (5, 6, 32, 48, 3, 1, Padding::Fixed),
        (33, 5, 48, 16, 5, 1, Padding::Fixed),
        (60, 40, 16, 16, 3, 1, Padding::Fixed),
        (20, 21, 8, 8, 3, 1, Padding::Fixed),
        (6, 9, 17, 24, 3, 1, Padding::Fixed),
        (5, 9, 8, 33, 3, 1, Padding::Fixed),
        (5, 6, 64, 63, 3, 1, Padding::Fixed),
    ];
    for (h, w, c, o, k, stride, padding) in cases {
        let what = format!("conv {h}x{w}x{c} -> {o}, {k}x{k}/{stride} {padding:?}");
        let (x, weight) = (numbers(&[2, h, w, c], 1), numbers(&[o, k, k, c], 2));
        let op: Op<'_> = &|t, v| conv2d(t, &v[0], &v[1], stride, padding);
        if k % 2 == 0 && padding == Padding::Fixed && device().is_cuda() {
            let refused = op(&Tape::inference(), &[constant(&x), constant(&weight)]).unwrap_err().to_string();
            assert!(refused.contains("use an odd kernel"), "{refused}");
            continue;
        }
        check(&what, &[x.clone(), weight.clone()], op);
        // candle: NCHW, padding made by hand because it may be uneven.
        let (before, total) = match padding {
            Padding::Valid => (0, 0),
            Padding::Fixed => ((k - 1) / 2, k - 1),
            Padding::Explicit(p) => (p, 2 * p),
        };
        let (xv, wv) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&weight).unwrap());
        let nchw = xv.permute((0, 3, 1, 2)).unwrap();
        let nchw = nchw.pad_with_zeros(2, before, total - before).unwrap();
        let nchw = nchw.pad_with_zeros(3, before, total - before).unwrap().contiguous().unwrap();
        let oihw = wv.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let out = nchw.conv2d(&oihw, 0, stride, 1, 1).unwrap().permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let ours = op(&Tape::inference(), &[constant(&x), constant(&weight)]).unwrap();
        assert_eq!(ours.tensor().dims(), out.dims(), "{what}");
        assert_close(&what, &flat(ours.tensor()), &flat(&out), 1e-5);
        let store = (out.clone() * numbers(out.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = tape_gradients(op, &[x, weight]);
        assert_close(&format!("{what} dx by candle"), &gradients[0], &flat(store.get(&xv).unwrap()), 1e-5);
        assert_close(&format!("{what} dw by candle"), &gradients[1], &flat(store.get(&wv).unwrap()), 1e-5);
    }
}

#[test]
fn linear_layers() {
    let inputs = [numbers(&[5, 7], 1), numbers(&[3, 7], 2), numbers(&[3], 3)];
    check("linear", &inputs, &|t, v| linear(t, &v[0], &v[1], Some(&v[2])));
    check("linear without bias", &inputs[..2], &|t, v| linear(t, &v[0], &v[1], None));
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let out = candle_nn::Linear::new(vars[1].as_tensor().clone(), Some(vars[2].as_tensor().clone()));
    let out = candle_nn::Module::forward(&out, &vars[0]).unwrap();
    let store = (&out * numbers(out.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
    let ours = tape_gradients(&|t, v| linear(t, &v[0], &v[1], Some(&v[2])), &inputs);
    for (i, var) in vars.iter().enumerate() {
        assert_close(&format!("linear, gradient {i} by candle"), &ours[i], &flat(store.get(var).unwrap()), 1e-5);
    }
}

#[test]
fn batch_norms() {
    for c in [3, 8, 16, 24, 48] {
        let x = ((numbers(&[3, 4, 5, c], 1) * 2.0).unwrap() + 0.7).unwrap();
        let (gamma, beta, residual) = (numbers(&[c], 2), numbers(&[c], 3), numbers(&[3, 4, 5, c], 4));
        let all = [x.clone(), gamma.clone(), beta.clone(), residual.clone()];
        let running = [numbers(&[c], 5), numbers(&[c], 6).abs().unwrap()].map(|t| on_device(&t));
        let running = Statistics::Running(running[0].clone(), running[1].clone());
        for (mode, statistics) in [("batch", &Statistics::Batch), ("running", &running)] {
            for (with_residual, relu) in [(false, false), (true, false)] {
                let op: Op<'_> = &|t, v| {
                    let fused = Fused { residual: with_residual.then(|| &v[3]), relu };
                    Ok(batch_norm(t, &v[0], Some(&v[1]), Some(&v[2]), statistics, 1e-5, fused)?.0)
                };
                let inputs = if with_residual { &all[..] } else { &all[..3] };
                check(&format!("batch norm {mode} c {c} residual {with_residual}"), inputs, op);
            }
        }
        // ReLU has a kink that differences trip over: hold it against candle's autograd, which shares no code.
        for with_residual in [false, true] {
            let vars: Vec<Var> = all.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let rows = vars[0].reshape(((), c)).unwrap();
            let mean = rows.mean_keepdim(0).unwrap();
            let centred = rows.broadcast_sub(&mean).unwrap();
            let var = centred.sqr().unwrap().mean_keepdim(0).unwrap();
            let y = centred.broadcast_div(&(var + 1e-5).unwrap().sqrt().unwrap()).unwrap();
            let y = y.broadcast_mul(&vars[1]).unwrap().broadcast_add(&vars[2]).unwrap().reshape(x.shape()).unwrap();
            let y = if with_residual { (y + vars[3].as_tensor()).unwrap() } else { y };
            let y = y.relu().unwrap();
            let store = (&y * numbers(y.dims(), 99)).unwrap().sum_all().unwrap().backward().unwrap();
            let inputs = if with_residual { &all[..] } else { &all[..3] };
            let ours = tape_gradients(
                &|t, v| {
                    let fused = Fused { residual: with_residual.then(|| &v[3]), relu: true };
                    Ok(batch_norm(t, &v[0], Some(&v[1]), Some(&v[2]), &Statistics::Batch, 1e-5, fused)?.0)
                },
                inputs,
            );
            for (i, g) in ours.iter().enumerate() {
                let what = format!("batch norm + relu c {c} residual {with_residual} gradient {i}");
                assert_close(&what, g, &flat(store.get(&vars[i]).unwrap()), 1e-4);
            }
        }
    }
    let (_, moments) = batch_norm(
        &Tape::inference(),
        &constant(&Tensor::new(&[[1f32], [2.], [6.]], &Device::Cpu).unwrap()),
        None,
        None,
        &Statistics::Batch,
        1e-5,
        Fused::default(),
    )
    .unwrap();
    let found = [numbers(&[1], 1), numbers(&[1], 2)].map(|t| on_device(&t));
    moments.unwrap().blend_into([&found[0], &found[1]], 0.0).unwrap();
    assert_eq!([flat(&found[0]), flat(&found[1])], [[3.0], [14.0 / 3.0]], "the variance is the biased one");
}

#[test]
fn pools() {
    // Distinct values with gaps wider than the difference step, so that no maximum changes hands.
    let distinct = |h: usize, w: usize| {
        let n = 2 * h * w * 3;
        let data: Vec<f32> = (0..n).map(|i| (i * 101 % n) as f32 * 0.05).collect();
        Tensor::from_vec(data, (2, h, w, 3), &Device::Cpu).unwrap()
    };
    for (h, w) in [(6, 6), (7, 5)] {
        let x = distinct(h, w);
        for padding in [PoolPadding::Valid, PoolPadding::Same] {
            check("max pool", std::slice::from_ref(&x), &|t, v| max_pool2d(t, &v[0], 3, 2, padding));
        }
        for (k, s) in [(2, 2), (2, 1), (3, 2)] {
            for padding in [PoolPadding::Valid, PoolPadding::Same, PoolPadding::ZerosAtEnd] {
                check("average pool", std::slice::from_ref(&x), &|t, v| avg_pool2d(t, &v[0], k, s, padding));
            }
        }
        check("global average pool", &[x], &|t, v| global_avg_pool(t, &v[0]));
    }
    let x = constant(&Tensor::arange(1f32, 10., &Device::Cpu).unwrap().reshape((1, 3, 3, 1)).unwrap());
    let t = Tape::inference();
    let pool = |p| flat(avg_pool2d(&t, &x, 2, 2, p).unwrap().tensor());
    assert_eq!(pool(PoolPadding::ZerosAtEnd), [3.0, 2.25, 3.75, 2.25], "zeros at the end count");
    assert_eq!(pool(PoolPadding::Same), [3.0, 4.5, 7.5, 9.0], "padding of SAME does not");
    let even = constant(&Tensor::arange(0f32, 16., &Device::Cpu).unwrap().reshape((1, 4, 4, 1)).unwrap());
    let max = flat(max_pool2d(&t, &even, 3, 2, PoolPadding::Same).unwrap().tensor());
    assert_eq!(max, [10.0, 11.0, 14.0, 15.0], "on an even size SAME pads at the end alone");
}

#[test]
fn gates() {
    let x = numbers(&[2, 3, 4, 6], 1);
    check("sigmoid gate", &[x.clone(), numbers(&[2, 6], 2)], &|t, v| sigmoid_gate(t, &v[0], &v[1]));
    check("stream mean", std::slice::from_ref(&x), &|t, v| stream_mean(t, &v[0]));
    check("stream select", &[x.clone(), numbers(&[2, 6], 2)], &|t, v| stream_select(t, &v[0], &v[1]));
    let far = (x.sign().unwrap() + &x).unwrap(); // away from the kink
    check("relu", std::slice::from_ref(&far), &|t, v| relu(t, &v[0]));
    check("add relu", &[far.clone(), (&x * 0.1).unwrap()], &|t, v| add_relu(t, &v[0], Some(&v[1])));
}

#[test]
fn losses() {
    let logits = numbers(&[4, 5], 1);
    check("cross entropy", std::slice::from_ref(&logits), &|t, v| cross_entropy(t, &v[0], &[0, 4, 2, 2]));
    let some = [Some(1), None, Some(0), None];
    check("partly labeled", std::slice::from_ref(&logits), &|t, v| partial_cross_entropy(t, &v[0], &some));
    let teacher = constant(&(numbers(&[4, 5], 2) * 3.0).unwrap());
    for temperature in [0.5, 1.0, 4.0] {
        check("distillation", std::slice::from_ref(&logits), &|t, v| distillation(t, &v[0], &teacher, temperature));
    }
    for normalize in [true, false] {
        check("nt-xent", &[numbers(&[12, 5], 3)], &|t, v| Ok(nt_xent(t, &v[0], 0.5, normalize)?.loss));
    }
    let both: Op<'_> = &|t, v| {
        let (a, b) = (cross_entropy(t, &v[0], &[0, 4, 2, 2])?, distillation(t, &v[0], &teacher, 2.0)?);
        weighted_sum(t, &[(0.25, &a), (0.75, &b)])
    };
    check("a sum of two losses of one value", std::slice::from_ref(&logits), both);
    let var = Var::from_tensor(&logits).unwrap();
    let labels = Tensor::new(&[0u32, 4, 2, 2], &Device::Cpu).unwrap();
    let loss = candle_nn::loss::cross_entropy(&var, &labels).unwrap();
    let (tape, store) = (Tape::new(), loss.backward().unwrap());
    let logits = on_device(&logits);
    let leaf = tape.leaf(&logits);
    let ours = cross_entropy(&tape, &leaf, &[0, 4, 2, 2]).unwrap();
    assert_close("cross entropy by candle", &flat(ours.tensor()), &flat(&loss), 1e-6);
    let ours = tape.backward(&ours).unwrap();
    let (ours, theirs) = (flat(ours.get(&logits).unwrap()), flat(store.get(&var).unwrap()));
    assert_close("its gradient", &ours, &theirs, 1e-5);
}

#[test]
fn a_value_with_several_consumers_gets_the_sum() {
    let x = numbers(&[2, 3, 3, 4], 1);
    let weight = numbers(&[4, 3, 3, 4], 2);
    check("a residual block", &[x, weight], &|t, v| {
        let y = conv2d(t, &v[0], &v[1], 1, Padding::Fixed)?;
        let y = conv2d(t, &y, &v[1], 1, Padding::Fixed)?;
        Ok(batch_norm(t, &y, None, None, &Statistics::Batch, 1e-5, Fused { residual: Some(&v[0]), relu: false })?.0)
    });
}

#[test]
fn results_do_not_depend_on_threads() {
    let (x, weight) = (numbers(&[16, 20, 20, 16], 1), numbers(&[16, 3, 3, 16], 2));
    let (gamma, beta) = (numbers(&[16], 3), numbers(&[16], 4));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            tape_gradients(
                &|t, v| {
                    let y = conv2d(t, &v[0], &v[1], 1, Padding::Fixed)?;
                    let fused = Fused { residual: None, relu: true };
                    Ok(batch_norm(t, &y, Some(&v[2]), Some(&v[3]), &Statistics::Batch, 1e-5, fused)?.0)
                },
                &[x.clone(), weight.clone(), gamma.clone(), beta.clone()],
            )
        })
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(5));
}

#[test]
fn misfits_are_errors() {
    let t = Tape::inference();
    let x = constant(&numbers(&[1, 2, 2, 3], 1));
    let w = constant(&numbers(&[4, 3, 3, 5], 1));
    let message = conv2d(&t, &x, &w, 1, Padding::Fixed).unwrap_err().to_string();
    assert!(message.contains("does not fit an input of 3 channels"), "{message}");
    assert!(conv2d(&t, &x, &constant(&numbers(&[4, 3, 3, 3], 1)), 1, Padding::Valid).is_err());
    assert!(cross_entropy(&t, &constant(&numbers(&[2, 3], 1)), &[0, 3]).is_err());
    assert!(nt_xent(&t, &constant(&numbers(&[5, 3], 1)), 0.1, true).is_err());
    let constant = constant(&numbers(&[1], 1));
    assert!(Tape::new().backward(&constant).is_err(), "a loss that depends on no leaf");
}

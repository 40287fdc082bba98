//! Collectives of threads: sums, gathers, what is waited for, and ranks that end.
#![allow(clippy::unwrap_used)]

use super::{Group, part, threads};
use crate::testing::ranks::on_ranks;
use candle_core::{DType, Device, Result, Tensor};
use std::thread::scope;
use std::time::{Duration, Instant};

fn vector(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn sums_gathers_and_messages() {
    for size in [1, 2, 3, 4] {
        on_ranks(size, |group| {
            let rank = group.rank() as f32;
            let (own, n) = (vector(&[rank, 1.0]), size as f32);
            group.all_reduce(&own).unwrap();
            assert_eq!(own.to_vec1::<f32>().unwrap(), [n * (n - 1.0) / 2.0, n]);
            // Two on their way at once, and a third between them that is not.
            let (a, b, c) = (vector(&[rank; 5]), vector(&[1.0]), vector(&[2.0]));
            let later = [group.all_reduce_later(&a).unwrap(), group.all_reduce_later(&b).unwrap()];
            group.all_reduce(&c).unwrap();
            for sum in later.into_iter().flatten() {
                sum.wait().unwrap();
            }
            assert_eq!(a.to_vec1::<f32>().unwrap(), [n * (n - 1.0) / 2.0; 5]);
            assert_eq!((b.to_vec1::<f32>().unwrap(), c.to_vec1::<f32>().unwrap()), (vec![n], vec![2.0 * n]));
            let own = Tensor::new(&[[f64::from(rank)], [0.5]], &Device::Cpu).unwrap();
            let all = group.all_gather(&own).unwrap();
            assert_eq!((all.dims(), all.dtype()), (&[size, 2, 1][..], DType::F64));
            assert_eq!(
                all.get(size - 1).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap(),
                [(size - 1) as f64, 0.5]
            );
            let root = vector(&[rank, rank]);
            group.broadcast(&root, size - 1).unwrap();
            assert_eq!(root.to_vec1::<f32>().unwrap(), [n - 1.0; 2]);
            let messages = group.exchange(&vec![7; group.rank()]).unwrap();
            assert_eq!(messages, (0..size).map(|rank| vec![7; rank]).collect::<Vec<_>>());
        });
    }
}

#[test]
fn rows_of_unequal_parts_come_in_order() {
    for (size, rows) in [(1, 4), (2, 5), (3, 7), (4, 8)] {
        let all = Tensor::arange(0f32, 3.0 * rows as f32, &Device::Cpu).unwrap().reshape((rows, 3)).unwrap();
        let counts: Vec<usize> = (0..size).map(|rank| part(rows, rank, size).len()).collect();
        let gathered = on_ranks(size, |group| {
            let own = group.part(rows);
            let own = all.narrow(0, own.start, own.len()).unwrap();
            group.gather_rows(&own, &counts).unwrap().to_vec2::<f32>().unwrap()
        });
        assert!(gathered.iter().all(|g| *g == all.to_vec2::<f32>().unwrap()), "{size} ranks");
    }
}

#[test]
fn traffic_is_counted_once() {
    on_ranks(2, |group| {
        group.all_reduce(&vector(&[0.0; 10])).unwrap();
        group.exchange(b"abc").unwrap();
        assert_eq!(group.traffic().bytes, 43);
        assert_eq!(group.traffic(), super::Traffic::default());
    });
    let alone = Group::default();
    alone.all_reduce(&vector(&[1.0])).unwrap();
    assert!(alone.all_reduce_later(&vector(&[1.0])).unwrap().is_none() && alone.traffic().bytes == 0);
}

fn told(result: Result<()>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_rank_that_ends_ends_the_others_at_once() {
    let begun = Instant::now();
    // One says why, one leaves without a word, one panics: the others wait for them in both kinds of calls.
    for how in ["aborts", "leaves", "panics"] {
        let told: Vec<String> = scope(|scope| {
            let work = |group: Group| {
                let pending = group.all_reduce_later(&vector(&[1.0])).unwrap();
                pending.unwrap().wait().unwrap();
                if group.rank() == 2 {
                    match how {
                        "aborts" => group.abort("no picture"),
                        "panics" => std::panic::resume_unwind(Box::new("as asked")),
                        _ => {}
                    }
                    return String::new();
                }
                told(match group.rank() {
                    0 => group.all_reduce(&vector(&[1.0])),
                    _ => group.all_reduce_later(&vector(&[1.0])).unwrap().unwrap().wait().map(|_| ()),
                })
            };
            let ranks: Vec<_> = threads(3).into_iter().map(|rank| scope.spawn(move || work(Group::of(rank)))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap_or_default()).collect()
        });
        for told in &told[..2] {
            assert!(told.contains("rank 2 of 3 has ended"), "{how}: {told}");
            assert_eq!(told.contains("no picture"), how == "aborts", "{told}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn ranks_that_make_different_calls_are_told_so() {
    let told = on_ranks(2, |group| {
        told(match group.rank() {
            0 => group.all_reduce(&vector(&[1.0])),
            _ => group.all_reduce(&vector(&[1.0, 2.0])),
        })
    });
    assert!(told.iter().all(|t| t.contains("come apart") && t.contains("sum of 2")), "{told:?}");
}

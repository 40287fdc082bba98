//! What a step did to each parameter: norms by part of the network, and where a number first was not finite.

use crate::params::{Param, ParamId, ParamStore, Part};
use anyhow::{Context, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use simclr_ops::optim;

/// Sums of squares of a step, a number a parameter, on the device until they are read: of the gradients that move weights and of
/// the running statistics; and where the step is logged, of the weights before it and of what moved them.
pub(super) struct Watched {
    trained: Vec<ParamId>,
    statistics: Vec<ParamId>,
    /// Copies of the trained weights as they were.
    before: Option<Vec<Tensor>>,
    sums: Vec<Tensor>,
}

/// What was seen, once the numbers are here.
pub(super) struct Seen {
    /// The norm of all gradients.
    pub grad_norm: f64,
    /// The same for each part of the network, and of how far the step moved it as a share of its own norm, as the log calls
    /// them; nothing where the step is not logged.
    pub by_part: Vec<(String, f64)>,
    /// The first layer whose outputs were not finite, as its running statistics show; or the last one whose gradient was not:
    /// what is wrong began there.
    pub fault: Option<String>,
}

impl Watched {
    /// Before the optimiser's step, for which `grads` are ready.
    ///
    /// # Errors
    /// When memory is short.
    pub fn begin(store: &ParamStore, grads: &GradStore, logged: bool) -> Result<Self> {
        let ids = |keep: &dyn Fn(&Param) -> bool| store.ids().filter(|id| keep(store.get(*id))).collect::<Vec<_>>();
        let trained = ids(&|p| !p.kind.is_statistic() && grads.get(&p.tensor).is_some());
        let statistics = ids(&|p| p.kind.is_statistic());
        let gradients: Vec<&Tensor> = trained.iter().filter_map(|id| grads.get(&store.get(*id).tensor)).collect();
        let mut sums = Vec::new();
        for list in [gradients, tensors(store, &statistics)] {
            sums.extend(squares(&list)?);
        }
        let copies = || tensors(store, &trained).into_iter().map(|t| Ok(t.copy()?)).collect::<Result<Vec<_>>>();
        let before = logged.then(copies).transpose()?;
        Ok(Self { trained, statistics, before, sums })
    }

    /// After the optimiser's step: the lists of numbers to read.
    ///
    /// # Errors
    /// When memory is short.
    pub fn end(&mut self, store: &ParamStore) -> Result<Vec<Tensor>> {
        let mut sums = std::mem::take(&mut self.sums);
        if let Some(before) = &self.before {
            let before: Vec<&Tensor> = before.iter().collect();
            sums.extend(squares(&before)?);
            // What is not read any more takes the difference.
            let pairs: Vec<_> = before.iter().copied().zip(tensors(store, &self.trained)).collect();
            optim::decay(&pairs, -1.0)?;
            sums.extend(squares(&before)?);
        }
        // Gone before the next forward pass needs the memory.
        self.before = self.before.take().map(|_| Vec::new());
        Ok(sums)
    }

    /// Reads the numbers of those lists; `store` knows the parameters.
    ///
    /// # Errors
    /// When there are fewer than were asked for.
    pub fn read(&self, store: &ParamStore, numbers: &[f64]) -> Result<Seen> {
        let (trained, logged) = (self.trained.len(), self.before.is_some());
        let expected = trained * if logged { 3 } else { 1 } + self.statistics.len();
        let numbers = numbers.get(..expected).context("figures of a step are missing")?;
        let (gradients, rest) = numbers.split_at(trained);
        let (statistics, moves) = rest.split_at(self.statistics.len());
        let grad_norm = gradients.iter().fold(0.0, |sum, square| sum + square).sqrt();
        let named = |ids: &[ParamId], at: usize| store.get(ids[at]).name.clone();
        let output = statistics.iter().position(|square| !square.is_finite());
        let gradient = || gradients.iter().rposition(|square| !square.is_finite());
        let fault = match output {
            Some(at) => {
                Some(format!("the outputs of a layer were not finite, first in {}", named(&self.statistics, at)))
            }
            None => {
                gradient().map(|at| format!("a gradient was not finite, first that of {}", named(&self.trained, at)))
            }
        };
        let by_part = if logged { self.by_part(store, gradients, moves) } else { Vec::new() };
        Ok(Seen { grad_norm, by_part, fault })
    }

    fn by_part(&self, store: &ParamStore, gradients: &[f64], moves: &[f64]) -> Vec<(String, f64)> {
        let (weights, moved) = moves.split_at(self.trained.len());
        let mut parts: Vec<(String, [f64; 3])> = Vec::new();
        for (i, id) in self.trained.iter().enumerate() {
            let name = label(store.get(*id).part);
            let at = parts.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                parts.push((name, [0.0; 3]));
                parts.len() - 1
            });
            for (sum, square) in parts[at].1.iter_mut().zip([gradients[i], weights[i], moved[i]]) {
                *sum += square;
            }
        }
        let figures = |(name, [gradient, weight, moved]): &(String, [f64; 3])| {
            // Weights that begin at zero have no norm to be a share of.
            let ratio = (*weight > 0.0).then(|| (format!("update_ratio/{name}"), (moved / weight).sqrt()));
            [Some((format!("grad_norm/{name}"), gradient.sqrt())), ratio]
        };
        parts.iter().flat_map(figures).flatten().collect()
    }
}

fn tensors<'a>(store: &'a ParamStore, ids: &[ParamId]) -> Vec<&'a Tensor> {
    ids.iter().map(|id| &store.get(*id).tensor).collect()
}

fn squares(tensors: &[&Tensor]) -> Result<Option<Tensor>> {
    Ok(if tensors.is_empty() { None } else { Some(optim::squares_of_each(tensors)?) })
}

/// What the log calls a part of the network.
fn label(part: Part) -> String {
    match part {
        Part::Stem => "stem".into(),
        Part::Group(group) => format!("group{group}"),
        Part::HeadLayer(_) => "head".into(),
        Part::Classifier => "classifier".into(),
        Part::Other => "other".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::Kind;
    use crate::testing::assert_close;
    use candle_core::Device;

    fn store() -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        let parameters = [
            ("conv.weight", Kind::Conv, Part::Stem, [3f32, 4.0]),
            ("conv.bias", Kind::Bias, Part::Stem, [0.0, 0.0]),
            ("bn.running_mean", Kind::Statistic, Part::Stem, [1.0, 1.0]),
            ("group.weight", Kind::Linear, Part::Group(1), [1.0, 0.0]),
            ("group.running_mean", Kind::Statistic, Part::Group(1), [1.0, 1.0]),
            ("frozen.weight", Kind::Linear, Part::Other, [1.0, 1.0]),
        ];
        for (name, kind, part, values) in parameters {
            store.add(name, kind, part, Tensor::new(&values, &Device::Cpu).unwrap()).unwrap();
        }
        store
    }

    /// One step along gradients; `spoil` may change what is in the store before it.
    fn step(gradients: &[(&str, [f32; 2])], logged: bool, spoil: Option<&str>) -> Seen {
        let store = store();
        let mut grads = GradStore::default();
        let tensor = |name: &str| store.by_name(name).unwrap().tensor.clone();
        for (name, gradient) in gradients {
            grads.insert(&tensor(name), Tensor::new(gradient, &Device::Cpu).unwrap());
        }
        if let Some(name) = spoil {
            simclr_ops::tensor::update(&tensor(name), |v| v[1] = f32::INFINITY).unwrap();
        }
        let mut watched = Watched::begin(&store, &grads, logged).unwrap();
        for (name, gradient) in gradients {
            simclr_ops::tensor::update(&tensor(name), |v| v.iter_mut().zip(gradient).for_each(|(v, g)| *v -= 0.5 * g))
                .unwrap();
        }
        let lists = watched.end(&store).unwrap();
        let numbers: Vec<f64> = lists.iter().flat_map(|list| list.to_vec1::<f64>().unwrap()).collect();
        watched.read(&store, &numbers).unwrap()
    }

    const GRADIENTS: [(&str, [f32; 2]); 3] =
        [("conv.weight", [3.0, 0.0]), ("conv.bias", [0.0, 4.0]), ("group.weight", [0.0, 12.0])];

    #[test]
    fn norms_and_moves_of_each_part() {
        let seen = step(&GRADIENTS, true, None);
        assert_eq!((seen.grad_norm, seen.fault), (13.0, None));
        let names: Vec<&str> = seen.by_part.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["grad_norm/stem", "update_ratio/stem", "grad_norm/group1", "update_ratio/group1"]);
        let found: Vec<f32> = seen.by_part.iter().map(|(_, value)| *value as f32).collect();
        // Weights of norm 5 and 1 that moved by half their gradients.
        assert_close("figures", &found, &[5.0, 0.5, 12.0, 6.0], 1e-6);
        assert!(step(&GRADIENTS, false, None).by_part.is_empty());
    }

    #[test]
    fn a_number_that_is_not_finite_has_a_place() {
        let mut gradients = GRADIENTS;
        gradients[1].1[0] = f32::NAN;
        let fault = step(&gradients, false, None).fault.unwrap();
        assert!(fault.contains("gradient") && fault.ends_with("conv.bias"), "{fault}");
        // A gradient comes from the last layer to the first: what is wrong began at the last.
        gradients[2].1[0] = f32::INFINITY;
        assert!(step(&gradients, true, None).fault.unwrap().ends_with("group.weight"));
        let fault = step(&gradients, false, Some("group.running_mean")).fault.unwrap();
        assert!(fault.contains("outputs") && fault.ends_with("group.running_mean"), "{fault}");
    }
}

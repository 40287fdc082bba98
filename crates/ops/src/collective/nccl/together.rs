//! Ranks that have a way between their hosts, and NCCL between their GPUs.

use super::library::Library;
use super::{ID_BYTES, Nccl, nccl_id};
use crate::collective::{Collective, PendingSum};
use candle_core::cuda_backend::WrapErr;
use candle_core::{Device, Result, Tensor, bail};
use std::collections::HashSet;
use std::sync::Arc;

/// What is told in place of a GPU or an id where there is none, and why.
const FAILED: u8 = b'!';

/// Tensors on GPUs over NCCL; messages, and tensors on the CPU, between the hosts.
struct Together {
    nccl: Nccl,
    hosts: Arc<dyn Collective>,
}

/// The ranks of `hosts`, each of which computes on its `device`, over NCCL; none where some compute on the CPU or two on one GPU.
/// All ranks call it.
///
/// # Errors
/// When a rank has no NCCL, or it fails.
pub fn join(hosts: &Arc<dyn Collective>, device: &Device) -> Result<Option<Arc<dyn Collective>>> {
    let own = match device {
        Device::Cuda(cuda) => match Library::get() {
            Ok(_) => cuda.cuda_stream().context().uuid().w()?.bytes.map(|byte| byte as u8).to_vec(),
            Err(why) => failed(&why),
        },
        _ => Vec::new(),
    };
    let gpus = all_of(hosts, &own)?;
    let different: HashSet<&Vec<u8>> = gpus.iter().collect();
    if gpus.iter().any(Vec::is_empty) || different.len() < gpus.len() {
        return Ok(None);
    }
    let own = match hosts.rank() {
        0 => nccl_id().map_or_else(|why| failed(&why), |id| id.to_vec()),
        _ => Vec::new(),
    };
    let ids = all_of(hosts, &own)?;
    let id: [u8; ID_BYTES] = match ids[0].as_slice().try_into() {
        Ok(id) => id,
        Err(_) => {
            bail!("rank 0 told {} bytes in place of an id of NCCL's: the ranks run different programs", ids[0].len())
        }
    };
    let nccl = Nccl::new(device, id, hosts.rank(), hosts.size())?;
    Ok(Some(Arc::new(Together { nccl, hosts: hosts.clone() })))
}

fn failed(why: &candle_core::Error) -> Vec<u8> {
    [&[FAILED], why.to_string().as_bytes()].concat()
}

/// What all ranks tell, unless one tells that it has failed.
fn all_of(hosts: &Arc<dyn Collective>, own: &[u8]) -> Result<Vec<Vec<u8>>> {
    let all = hosts.exchange(own)?;
    for (rank, told) in all.iter().enumerate() {
        // A GPU has 16 bytes, an id 128; either may begin with any of them.
        if told.first() == Some(&FAILED) && ![16, ID_BYTES].contains(&told.len()) {
            bail!("rank {rank} of {}: {}", all.len(), String::from_utf8_lossy(&told[1..]))
        }
    }
    Ok(all)
}

impl Together {
    fn by(&self, tensor: &Tensor) -> &dyn Collective {
        if tensor.device().is_cpu() { self.hosts.as_ref() } else { &self.nccl }
    }
}

impl Collective for Together {
    fn rank(&self) -> usize {
        self.nccl.rank()
    }

    fn size(&self) -> usize {
        self.nccl.size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<()> {
        self.by(values).all_reduce(values)
    }

    fn all_reduce_later(&self, values: &Tensor) -> Result<Box<dyn PendingSum>> {
        self.by(values).all_reduce_later(values)
    }

    fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        self.by(own).all_gather(own)
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<()> {
        self.by(values).broadcast(values, root)
    }

    fn exchange(&self, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.nccl.comm.sound()?;
        self.hosts.exchange(message)
    }

    fn abort(&self, why: &str) {
        self.nccl.abort(why);
        self.hosts.abort(why);
    }

    fn joins_gpus(&self) -> bool {
        true
    }

    fn waited(&self) -> f64 {
        self.nccl.waited()
    }
}

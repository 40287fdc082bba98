//! Memory of the emulated GPU.

#![allow(unsafe_code)]

/// Bytes before and after each memory that nothing may change. 0xff bytes are NaN in every type of float.
const GUARD: usize = 64;

/// Bytes in the emulator's memory, between guards.
pub struct Guarded {
    // 16-byte aligned, as a GPU's memory is at least.
    blocks: Box<[u128]>,
    len: usize,
}

impl Guarded {
    /// Room for `len` bytes, all 0xff.
    pub fn room(len: usize) -> Self {
        let bytes = (GUARD + len).div_ceil(16) * 16 + GUARD;
        Self { blocks: vec![u128::MAX; bytes / 16].into_boxed_slice(), len }
    }

    /// Room that holds these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut memory = Self::room(bytes.len());
        let start = memory.blocks.as_mut_ptr().cast::<u8>().wrapping_add(GUARD);
        // SAFETY: `bytes.len()` bytes from the guard on lie in the box, which nobody else knows of yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
        memory
    }

    /// Where the bytes stand, aligned to 16.
    pub fn address(&self) -> u64 {
        self.blocks.as_ptr().cast::<u8>().wrapping_add(GUARD) as u64
    }

    /// The bytes.
    ///
    /// # Panics
    /// When a kernel wrote beyond them.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the box holds that many initialised bytes. Kernels write them only inside a launch, and whoever calls this
        // runs none meanwhile: the emulator's launches return when all is written.
        let all = unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast::<u8>(), self.blocks.len() * 16) };
        let (start, end) = (GUARD, GUARD + self.len);
        assert!(all[..start].iter().chain(&all[end..]).all(|b| *b == 0xff), "a kernel wrote beyond its memory");
        &all[start..end]
    }
}

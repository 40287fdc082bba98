//! Vectors that a kernel fills.

/// A vector of `len` elements that `write` fills, without zeroing it first.
///
/// `write` must set every element; in builds with debug assertions the memory starts as NaN, so that the tests
/// notice one that was left out.
#[allow(unsafe_code)]
pub fn filled<T: candle_core::WithDType>(len: usize, write: impl FnOnce(&mut [T])) -> Vec<T> {
    if cfg!(debug_assertions) {
        let mut data = vec![T::from_f64(f64::NAN); len];
        write(&mut data);
        return data;
    }
    let mut data: Vec<T> = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, every bit pattern is a valid number, and `write` sets all elements before they are
    // read (checked by the NaN above in the test suite). A zero-fill here would be one more pass over each activation.
    #[allow(clippy::uninit_vec)]
    unsafe {
        data.set_len(len)
    };
    write(&mut data);
    data
}

//! Faults that a test plants in what a process asks of the emulated GPU's driver.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};

/// Has the driver ignore or misplace a call of this thread: `KIND`, the next one, or `KIND:N`, the one after N - 1 others.
/// `cpp/queues.hpp` lists the kinds; an empty text takes back. What was planted before and has not come to its call is
/// returned; none where the process has no emulated GPU.
pub fn plant(kind: &str) -> Option<String> {
    let kind = CString::new(kind).ok()?;
    // SAFETY: looks a name up among the libraries of this process.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"emulated_plant".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: queues.cpp declares it so.
    let plant =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(*const c_char) -> *const c_char>(found) };
    // SAFETY: a text that ends in zero, valid until this thread's next call.
    Some(unsafe { CStr::from_ptr(plant(kind.as_ptr())) }.to_string_lossy().into_owned())
}

//! The host's functions as Envoy exports them (Proxy-Wasm ABI 0.2.1), with byte buffers for
//! arguments and plain numbers for statuses.
//!
//! Declared here rather than taken from the SDK, whose functions panic on a status that they don't
//! list and on bytes that are no UTF-8: a panic kills the VM. The one place with `unsafe`.
#![expect(
    unsafe_code,
    reason = "foreign functions have no other form; each call passes a live slice's pointer and length"
)]

use std::alloc::{Layout, alloc};
use std::ptr::null_mut;

/// A status that is not 0 (`Ok`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u32);

mod host {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            kind: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_buffer_bytes(
            kind: u32,
            start: usize,
            length: usize,
            data: *const u8,
            size: usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(kind: u32, data: *mut *mut u8, size: *mut usize) -> u32;
        pub(super) fn proxy_get_header_map_value(
            kind: u32,
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(kind: u32, key: *const u8, key_size: usize) -> u32;
        pub(super) fn proxy_add_header_map_value(
            kind: u32,
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            kind: u32,
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            version: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            version: u32,
        ) -> u32;
        pub(super) fn proxy_continue_stream(kind: u32) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            arguments: *const u8,
            arguments_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_effective_context(id: u32) -> u32;
        pub(super) fn proxy_http_call(
            cluster: *const u8,
            cluster_size: usize,
            headers: *const u8,
            headers_size: usize,
            body: *const u8,
            body_size: usize,
            trailers: *const u8,
            trailers_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, offset: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
    }
}

fn ok(status: u32) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// Calls `read` with places for a buffer that the host allocates through our allocator.
fn owned(read: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let mut data: *mut u8 = null_mut();
    let mut size = 0_usize;
    ok(read(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host wrote `size` bytes to memory of just that size, which it got from
    // `proxy_on_memory_allocate`; it is ours now.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Memory for what the host gives: it fills all of it before anybody reads it, so nothing is written here. Null
/// where there is none left, by which the host's call fails.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout is not empty.
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => null_mut(),
    }
}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// The first thing that the host calls: what the linker wants to be done beforehand.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: once, before anything else.
    unsafe { __wasm_call_ctors() }
}

pub(super) fn log(level: u32, message: &str) {
    // SAFETY: pointer and length of a live slice. The status says nothing that could be acted on.
    let _ = unsafe { host::proxy_log(level, message.as_ptr(), message.len()) };
}

pub(super) fn time_nanoseconds() -> Result<u64, Status> {
    let mut time = 0;
    // SAFETY: a place for the number.
    ok(unsafe { host::proxy_get_current_time_nanoseconds(&raw mut time) }).map(|()| time)
}

pub(super) fn set_tick_period(milliseconds: u32) -> Result<(), Status> {
    // SAFETY: no memory is passed.
    ok(unsafe { host::proxy_set_tick_period_milliseconds(milliseconds) })
}

pub(super) fn buffer(kind: u32, max: usize) -> Result<Vec<u8>, Status> {
    // SAFETY: places for pointer and length.
    owned(|data, size| unsafe { host::proxy_get_buffer_bytes(kind, 0, max, data, size) })
}

/// Puts `bytes` in the place of all `length` bytes.
pub(super) fn replace_buffer(kind: u32, length: usize, bytes: &[u8]) -> Result<(), Status> {
    // SAFETY: a live slice.
    ok(unsafe { host::proxy_set_buffer_bytes(kind, 0, length, bytes.as_ptr(), bytes.len()) })
}

pub(super) fn header_map(kind: u32) -> Result<Vec<u8>, Status> {
    // SAFETY: places for pointer and length.
    owned(|data, size| unsafe { host::proxy_get_header_map_pairs(kind, data, size) })
}

pub(super) fn header(kind: u32, name: &str) -> Result<Vec<u8>, Status> {
    // SAFETY: a live slice, and places for pointer and length.
    owned(|data, size| unsafe {
        host::proxy_get_header_map_value(kind, name.as_ptr(), name.len(), data, size)
    })
}

pub(super) fn remove_header(kind: u32, name: &str) -> Result<(), Status> {
    // SAFETY: a live slice.
    ok(unsafe { host::proxy_remove_header_map_value(kind, name.as_ptr(), name.len()) })
}

pub(super) fn add_header(kind: u32, name: &str, value: &str) -> Result<(), Status> {
    // SAFETY: live slices.
    ok(unsafe {
        host::proxy_add_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

pub(super) fn replace_header(kind: u32, name: &str, value: &str) -> Result<(), Status> {
    // SAFETY: live slices.
    ok(unsafe {
        host::proxy_replace_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// `path`: its elements with NUL between them.
pub(super) fn property(path: &str) -> Result<Vec<u8>, Status> {
    // SAFETY: a live slice, and places for pointer and length.
    owned(|data, size| unsafe { host::proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

pub(super) fn set_property(name: &str, value: &str) -> Result<(), Status> {
    // SAFETY: live slices. A path of one element is its bytes.
    ok(unsafe { host::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

pub(super) fn continue_stream(kind: u32) -> Result<(), Status> {
    // SAFETY: no memory is passed.
    ok(unsafe { host::proxy_continue_stream(kind) })
}

pub(super) fn send_local_response(
    status: u32,
    details: &str,
    headers: &[u8],
    body: &str,
) -> Result<(), Status> {
    // SAFETY: live slices.
    ok(unsafe {
        host::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

pub(super) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    // SAFETY: live slices, and places for pointer and length.
    owned(|data, size| unsafe {
        host::proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            data,
            size,
        )
    })
}

pub(super) fn set_effective_context(id: u32) -> Result<(), Status> {
    // SAFETY: no memory is passed.
    ok(unsafe { host::proxy_set_effective_context(id) })
}

/// What stands at `key`, and its version.
pub(super) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), Status> {
    let mut version = 0;
    // SAFETY: a live slice, and places for pointer, length and version.
    let value = owned(|data, size| unsafe {
        host::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
    })?;
    Ok((value, version))
}

/// Puts `value` at `key` if what stands there has this version.
pub(super) fn set_shared_data(key: &str, value: &[u8], version: u32) -> Result<(), Status> {
    // SAFETY: live slices.
    ok(unsafe { host::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) })
}

/// `headers` in the host's form, the timeout in milliseconds. Answers the token of the reply.
pub(super) fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: u32) -> Result<u32, Status> {
    let mut token = 0;
    let (nothing, none) = (null_mut::<u8>().cast_const(), 0);
    // SAFETY: live slices, none for trailers, and a place for the number.
    ok(unsafe {
        host::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            nothing,
            none,
            timeout,
            &raw mut token,
        )
    })
    .map(|()| token)
}

pub(super) fn define_metric(kind: u32, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: a live slice and a place for the number.
    ok(unsafe { host::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) }).map(|()| id)
}

pub(super) fn increment(id: u32, by: i64) -> Result<(), Status> {
    // SAFETY: no memory is passed.
    ok(unsafe { host::proxy_increment_metric(id, by) })
}

pub(super) fn record(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: no memory is passed.
    ok(unsafe { host::proxy_record_metric(id, value) })
}

//! What Envoy calls (Proxy-Wasm ABI 0.2.1): those callbacks that do something, since each costs a way out of the
//! host and back. Finds the context that a callback is for; roots and streams do the rest.
#![expect(unsafe_code, reason = "exported names are unsafe to choose: none stands for anything else here")]

use super::root::Root;
use super::stream::{Action, StreamCore};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::default();
}

/// A root for each plugin configuration, a stream for each request.
#[derive(Default)]
struct Contexts {
    roots: BTreeMap<u32, Rc<Root>>,
    streams: BTreeMap<u32, Rc<StreamCore>>,
}

/// Nothing is borrowed while a context works: what it asks of the host may come back here.
fn root(id: u32) -> Option<Rc<Root>> {
    CONTEXTS.with_borrow(|contexts| contexts.roots.get(&id).map(Rc::clone))
}

fn stream(id: u32) -> Option<Rc<StreamCore>> {
    CONTEXTS.with_borrow(|contexts| contexts.streams.get(&id).map(Rc::clone))
}

/// A stream that is not known does not go on.
fn act(id: u32, callback: impl FnOnce(&Rc<StreamCore>) -> Action) -> u32 {
    match stream(id).map_or(Action::Pause, |stream| callback(&stream)) {
        Action::Continue => 0,
        Action::Pause => 1,
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(id: u32, root_id: u32) {
    if root_id == 0 {
        CONTEXTS.with_borrow_mut(|contexts| contexts.roots.insert(id, Rc::new(Root::new(id))));
    } else {
        let worker = root(root_id).and_then(|root| root.worker());
        let stream = Rc::new(StreamCore::new(id, worker));
        CONTEXTS.with_borrow_mut(|contexts| contexts.streams.insert(id, stream));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    // Dropped when nothing is borrowed.
    let gone =
        CONTEXTS.with_borrow_mut(|contexts| (contexts.streams.remove(&id), contexts.roots.remove(&id)));
    drop(gone);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(id: u32, _size: u32) -> u32 {
    root(id).is_some_and(|root| root.configure()).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(id: u32) {
    if let Some(root) = root(id) {
        root.tick();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    id: u32,
    token: u32,
    headers: u32,
    body_size: usize,
    _trailers: u32,
) {
    if let Some(root) = root(id) {
        root.reply(token, headers, body_size);
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(id: u32, _count: u32, end_of_stream: u32) -> u32 {
    act(id, |stream| stream.request_head(end_of_stream != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(id: u32, size: usize, end_of_stream: u32) -> u32 {
    act(id, |stream| stream.request_body(size, end_of_stream != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(id: u32, _count: u32) -> u32 {
    act(id, |stream| stream.request_trailers())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(id: u32, _count: u32, end_of_stream: u32) -> u32 {
    act(id, |stream| stream.response_head(end_of_stream != 0))
}

/// The host calls it for each piece of every answer; few have anything to be done.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(id: u32, size: usize, end_of_stream: u32) -> u32 {
    act(id, |stream| stream.response_body(size, end_of_stream != 0))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(id: u32, _count: u32) -> u32 {
    act(id, |stream| stream.response_trailers())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    if let Some(stream) = stream(id) {
        stream.log();
    }
}

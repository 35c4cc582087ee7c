//! What is done to an answer on its way back: its head, and the lists in its body.

use super::host;
use super::root::Worker;
use super::stream::{Action, give};
use crate::audit::Written;
use crate::gate::{Answer, Cors, Lists, Request};
use crate::mcp::Answering;
use crate::reason::Reason;

/// What is answered in the place of Envoy's rate limit filter, where that refused a request. One that went on without
/// having been counted, as far as its answer tells, is complained of, once. `failed`: as below.
pub(super) fn refused_for_rate(
    worker: &Worker,
    request: &Request,
    status: Option<u16>,
    failed: Option<u16>,
) -> Option<Answer> {
    let rate = request.global_rate()?;
    if failed.is_none() && status.is_none_or(|status| status >= 400) {
        let wait = host::response_header("x-ratelimit-reset");
        return request.refused_for_rate(&host::code_details()?, wait.as_deref());
    }
    if host::response_header("x-ratelimit-limit").is_none() && !worker.told_of_uncounted.replace(true) {
        let rule = rate.rule();
        host::error(&format!(
            "mcp-iap: a call went on whose rate nobody seems to count, that of the rule `{rule}`: Envoy's rate limit filter \
             must stand behind this one, as `mcp-iap render envoy` writes it, and its service must have the limit, as \
             `mcp-iap render rate-limit-service` writes it"
        ));
    }
    None
}

/// What filters the lists of an answer whose head is here, where there may be some; or what is answered in its place.
/// `failed`: the status with which the upstream refused.
pub(super) fn lists_of(
    worker: &Worker,
    request: &Request,
    status: Option<u16>,
    failed: Option<u16>,
    is_complete: bool,
) -> Result<Option<Box<Lists>>, Answer> {
    if failed == Some(401) {
        // How old the token is counts.
        worker.shared.set_now(host::now());
        return request.refused_by_upstream().map_or(Ok(None), Err);
    }
    // What is no success holds no list.
    if is_complete || !request.has_lists() || status.is_some_and(|status| status >= 300) {
        return Ok(None);
    }
    let refuse = |reason| Answer::refuse_late(request, reason);
    if request.is_watched() {
        let Some(content_type) = host::response_header("content-type") else { return Ok(None) };
        let has_length = host::has_length();
        let lists = Lists::watched(request, &content_type, has_length).map_err(refuse)?;
        if has_length && lists.as_ref().is_some_and(|lists| !lists.keeps_length()) {
            host::remove_response_header("content-length").map_err(|_| refuse(Reason::Internal))?;
        }
        return Ok(lists.map(Box::new));
    }
    let head = host::response_head().ok_or_else(|| refuse(Reason::Internal))?;
    let lists = Lists::of(request, &head).map_err(refuse)?;
    // It will have another length.
    host::remove_response_header("content-length").map_err(|_| refuse(Reason::Internal))?;
    Ok(Some(Box::new(lists)))
}

/// What reads an answer whose head is here for errors; `None` where there is nothing to be read, as of what Envoy
/// itself answers, or where the upstream's answer has another form than MCP's.
pub(super) fn reading(is_complete: bool) -> Option<Answering> {
    if is_complete || !host::is_of_the_upstream() {
        return None;
    }
    Answering::of(&host::response_header("content-type")?)
}

/// A piece of an answer in which lists may be. All of it is taken from the host, and what goes on given back.
pub(super) fn filter(
    worker: &Worker,
    lists: &mut Lists,
    written: &mut Written,
    size: usize,
    is_complete: bool,
) -> Action {
    worker.shared.set_now(host::now());
    let piece = host::response_body(size);
    let goes_on = match &piece {
        Some(piece) => lists.push(piece, is_complete),
        None => lists.fail(size),
    };
    let is_same = piece.is_some_and(|piece| piece == goes_on);
    let is_taken = is_same || host::replace_response_body(size, &goes_on).is_ok();
    if !is_taken {
        host::error("mcp-iap: the host did not take an answer's body");
        lists.fail(size);
    }
    if let Some(news) = lists.news() {
        worker.metrics.count_listed(&news);
        *written = news.record;
        give(written);
    }
    // What the host still holds is not filtered, and does not go on; where it holds nothing, the answer ends empty.
    let holds_unfiltered = !is_taken && size > 0;
    if holds_unfiltered || lists.is_held() { Action::Pause } else { Action::Continue }
}

/// An upstream's answer, to be read by a page: what the upstream said of that itself is replaced.
pub(super) fn show_to_page(cors: &Cors) -> Result<(), host::Status> {
    for (name, value) in cors.headers() {
        host::set_response_header(name, &value)?;
    }
    host::add_response_header(Cors::VARY.0, Cors::VARY.1)
}

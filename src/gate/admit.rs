//! One request, from its head to a decision. Every `.await` is a wait for a callout, a cache hit, or
//! the body. What it answers is carried out by [`super::request::Request::run`].

use super::credential;
use super::outgoing::Target;
use super::refusal::Answer;
use super::request::{Exit, Forward, Request};
use super::resource::ResourceSettings;
use super::route::{self, Route};
use crate::mcp::{Arguments, Era, Message, Operation, headers, is_removed};
use crate::policy::{Call, Denial, PolicySet};
use crate::reason::Reason;
use crate::upstream::UpstreamCredential;

/// Decides one request.
///
/// # Errors
/// The denial, at whatever station.
pub async fn admit(request: &Request) -> Result<Exit, Denial> {
    let settings = &request.settings;
    let head = &request.head;

    let route = route::find(settings, request.resource(), head)?;
    if route == Route::Health {
        if !request.is_complete() {
            return Err(Reason::UnexpectedBody.into());
        }
        let permit = PolicySet::health();
        let credential = UpstreamCredential::stripped(&permit);
        return Ok(Exit::Forward(Forward::new(permit, credential)));
    }
    let cors = request.cors()?;
    let ResourceSettings { protected, policies, outgoing, .. } = request.resource()?;
    let has_message = match route {
        Route::Metadata => return Ok(Exit::Answer(Answer::metadata(protected, cors))),
        Route::Preflight(methods) => {
            let cors = cors.ok_or(Reason::OriginNotAllowed)?;
            return Ok(Exit::Answer(cors.preflight(head, methods)));
        }
        Route::Message => true,
        Route::Stream | Route::Health => false,
    };

    // Who: a stranger is refused before a byte of the body is read.
    let identity = credential::identify(request, protected).await?;
    let caller = &identity.caller;
    request.note_session();
    if has_message {
        route::check_body_headers(head, settings.limits.body_bytes)?;
    } else if !request.is_complete() {
        return Err(Reason::UnexpectedBody.into());
    }

    // The head's exit: without the flag the host gives no body before the head has gone on.
    if !settings.allow_on_headers_stop_iteration {
        let announced = headers::announced(head)?;
        let (method, operations) = announced.as_ref().map(headers::Announced::asks).unwrap_or_default();
        let call = request.call(caller, method, &operations, None);
        let permit =
            policies.decide_head(&call).inspect_err(|denial| request.note_rules(&call, Some(denial)))?;
        request.release_head(UpstreamCredential::stripped_head(&permit));
    }

    // What: the body is parsed once, and what was parsed is what is forwarded.
    let body = request.body().await?;
    identity.check(request.now())?;
    let (permit, target) = if has_message {
        let message = Message::parse(&body)?;
        let operations = message.operations();
        request.note_message(&message, operations.as_deref().unwrap_or_default());
        let era = headers::agree(head, &message)?;
        request.note_asked(&message.method, era);
        if era == Era::Modern && is_removed(&message.method) {
            return Err(Reason::UnknownMethod.into());
        }
        let operations = operations?;
        let target = outgoing.target(&operations, &message.arguments)?;
        let call = request.call(caller, &message.method, &operations, Some(&message.arguments));
        let call = Call { target: target.as_deref().map(Target::name), ..call };
        let decision = policies.decide_within(&call, &request.limits());
        request.note_rules(&call, decision.as_ref().err());
        request.note_decision(&operations, &decision);
        (decision?, target)
    } else {
        // One that came while the keys were waited for.
        if !body.is_empty() {
            return Err(Reason::UnexpectedBody.into());
        }
        request.note_stream(headers::era_without_message(head)?);
        let target = outgoing.target(&[], &Arguments::default())?;
        let call = request.call(caller, "", &[Operation::Open], None);
        let call = Call { target: target.as_deref().map(Target::name), ..call };
        (policies.decide(&call)?, target)
    };

    // Then, and only with a permit: what the upstream gets.
    let credential = request.credential(&permit, &identity, target).await?;
    Ok(Exit::Forward(Forward::new(permit, credential)))
}

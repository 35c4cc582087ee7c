//! What a server answers: a message with a list, and a stream of events wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::mcp::{Beginning, CacheScope, Entry, Events, Verdict, beginning, filter};

fn sees(entry: Entry<'_>) -> bool {
    let (Entry::Tool(name) | Entry::Prompt(name) | Entry::Resource(name) | Entry::Template(name)) = entry;
    !name.contains('x')
}

fn goes_on(pieces: &[&[u8]]) -> Vec<u8> {
    let mut events = Events::new(1000);
    let mut judge = |data: &[u8], fault: Option<_>| match filter(data, CacheScope::Changes, &mut sees) {
        _ if fault.is_some() => Verdict::Replace(b"{}".to_vec()),
        Ok(None) => Verdict::Pass,
        Ok(Some(listed)) => Verdict::Replace(listed.text),
        Err(_) => Verdict::Replace(b"{}".to_vec()),
    };
    let mut out: Vec<u8> =
        pieces.iter().flat_map(|piece| events.push(piece, usize::MAX, &mut judge)).collect();
    out.extend(events.finish(&mut judge));
    out
}

/// Of a watched stream nothing changes but lists, however it is cut.
fn passes(pieces: &[&[u8]]) -> Vec<u8> {
    let mut events = Events::watched(1000);
    let mut judge = |data: &[u8], fault: Option<_>| {
        assert!(fault.is_some() || beginning(data) == Beginning::List);
        Verdict::Pass
    };
    let mut out: Vec<u8> =
        pieces.iter().flat_map(|piece| events.push(piece, usize::MAX, &mut judge)).collect();
    out.extend(events.finish(&mut judge));
    out
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(listed)) = filter(bytes, CacheScope::Stays, &mut sees) {
        assert!(listed.text.len() <= bytes.len());
        let again = filter(&listed.text, CacheScope::Stays, &mut sees).unwrap().unwrap();
        assert_eq!((again.text, again.shown, again.hidden), (listed.text, listed.shown, 0));
    }
    let whole = goes_on(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(goes_on(&[first, second]), whole);
    assert_eq!(goes_on(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    if bytes.len() < 1000 {
        assert_eq!(passes(&[bytes]), bytes);
        assert_eq!(passes(&bytes.chunks(1).collect::<Vec<_>>()), bytes);
    }
});

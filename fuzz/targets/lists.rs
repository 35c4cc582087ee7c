//! What a server answers: a message with a list, and a stream of events wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_iap::mcp::{Entry, Events, Verdict, filter};

fn sees(entry: Entry<'_>) -> bool {
    let (Entry::Tool(name) | Entry::Prompt(name) | Entry::Resource(name) | Entry::Template(name)) = entry;
    !name.contains('x')
}

fn goes_on(pieces: &[&[u8]]) -> Vec<u8> {
    let mut events = Events::new(1000);
    let mut judge = |data: Result<&[u8], _>| match data.map(|data| filter(data, false, &mut sees)) {
        Ok(Ok(None)) => Verdict::Pass,
        Ok(Ok(Some(listed))) => Verdict::Replace(listed.text),
        Ok(Err(_)) | Err(_) => Verdict::Replace(b"{}".to_vec()),
    };
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| events.push(piece, &mut judge)).collect();
    out.extend(events.finish(&mut judge));
    out
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(listed)) = filter(bytes, false, &mut sees) {
        assert!(listed.text.len() <= bytes.len() + 16);
        let again = filter(&listed.text, false, &mut sees).unwrap().unwrap();
        assert_eq!((again.text, again.shown, again.hidden), (listed.text, listed.shown, 0));
    }
    let whole = goes_on(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(goes_on(&[first, second]), whole);
    assert_eq!(goes_on(&bytes.chunks(1).collect::<Vec<_>>()), whole);
});

//! Streams of events, cut anywhere, and what goes on of them.

use super::*;
use proptest::prelude::*;

/// Data with an `x` becomes `new`, or what it can't be read for. All that goes on, and the data that was seen.
fn run(pieces: &[&[u8]], limit: usize, new: &str) -> (String, Vec<String>) {
    let mut events = Events::new(limit);
    let mut seen = Vec::new();
    let mut judge = |data: &[u8], fault: Option<Reason>| match fault {
        None => {
            let data = String::from_utf8_lossy(data).into_owned();
            let has_x = data.contains('x');
            seen.push(data);
            if has_x { Verdict::Replace(new.as_bytes().to_vec()) } else { Verdict::Pass }
        }
        Some(reason) => Verdict::Replace(reason.code().as_bytes().to_vec()),
    };
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(events.push(piece, usize::MAX, &mut judge));
    }
    out.extend(events.finish(&mut judge));
    (String::from_utf8(out).unwrap(), seen)
}

fn whole(stream: &str) -> (String, Vec<String>) {
    run(&[stream.as_bytes()], 1000, "new")
}

#[test]
fn data_is_replaced_and_all_else_stays() {
    for (stream, goes_on) in [
        ("data: x\n\n", "data: new\n\n"),
        ("data:x\n\n", "data:new\n\n"),
        ("data: x\r\n\r\n", "data: new\r\n\r\n"),
        ("data: x\r\r", "data: new\r\r"),
        ("data: x\r\n\n", "data: new\r\n\n"),
        (
            ": hi\nevent: message\nid: 7\ndata: x\nretry: 5\n\n",
            ": hi\nevent: message\nid: 7\ndata: new\nretry: 5\n\n",
        ),
        ("data: x\nid: 1\ndata: y\n\ndata: z\n\n", "data: new\nid: 1\n\ndata: z\n\n"),
        ("\u{feff}data: x\n\n", "data: new\n\n"),
        // Not complete: no client takes it, and it is looked at all the same.
        ("data: a\n\ndata: x", "data: a\n\ndata: new\n"),
        ("data\ndata: x\n\n", "data: new\n\n"),
        ("database: x\n\n", "database: x\n\n"),
        // Elsewhere than at the front of the stream readers differ: it can't be read.
        (": hi\n\n\u{feff}data: x\n\n", ": hi\n\ndata: list_unreadable\n\n"),
        ("\u{feff}data: a\n\u{feff}data: x\n\n", "data: list_unreadable\n\n"),
        ("\u{feff}data: a\n\n", "\u{feff}data: a\n\n"),
    ] {
        assert_eq!(whole(stream).0, goes_on, "{stream:?}");
    }
    let (two, _) = run(&[b"id: 1\r\ndata: x\r\n\r\n"], 1000, "{\n}");
    assert_eq!(two, "id: 1\r\ndata: {\r\ndata: }\r\n\r\n");
    // A space of the data is none of the form.
    let (two, _) = run(&[b"data:x\n\n"], 1000, "{\n }");
    assert_eq!((two.as_str(), whole(&two).1), ("data:{\ndata:  }\n\n", vec!["{\n }".to_owned()]));
}

#[test]
fn data_is_read_as_clients_read_it() {
    for (stream, data) in [
        ("data: a\ndata: b\n\n", &["a\nb"][..]),
        ("data:a\rdata:  b\r\r", &["a\n b"]),
        ("data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", &["a\nb", "c"]),
        ("data\ndata\n\n", &["\n"]),
        ("data: a", &["a"]),
        // Nothing that a client makes a message of.
        ("\n\n\r\n: c\n\nid: 1\ndata:\n\nevent: e\n\n", &[]),
    ] {
        let (out, seen) = whole(stream);
        assert_eq!(
            (out.as_str(), seen),
            (stream, data.iter().map(ToString::to_string).collect()),
            "{stream:?}"
        );
    }
    // Some reader may take them for data; these are not.
    for name in ["Data", "DATA", " data", "data ", "data\t"] {
        assert_eq!(whole(&format!("{name}: a\n\n")).0, "data: list_unreadable\n\n", "{name:?}");
    }
}

#[test]
fn what_is_complete_goes_on_at_once() {
    let mut events = Events::new(1000);
    let mut pass = |_: &[u8], _: Option<Reason>| Verdict::Pass;
    for (piece, goes_on) in [
        ("data: a\n", ""),
        ("\ndata: b", "data: a\n\n"),
        ("\r\n\r", "data: b\r\n\r"),
        ("\n", "\n"),
        (": ping\n\n", ": ping\n\n"),
        // A comment is no part of the event that follows.
        (": pi", ": pi"),
        ("ng\r\n", "ng\r\n"),
        (":\r", ":\r"),
        ("\ndata: e\n", "\n"),
        (": within\n\n:\n", "data: e\n: within\n\n:\n"),
        ("data: c\r", ""),
        ("\ndata: d\r\n", ""),
        ("\r\n", "data: c\r\ndata: d\r\n\r\n"),
    ] {
        assert_eq!(
            String::from_utf8(events.push(piece.as_bytes(), usize::MAX, &mut pass)).unwrap(),
            goes_on,
            "{piece:?}"
        );
    }
}

#[test]
fn an_event_beyond_the_limit_is_dropped_to_its_end() {
    let long = format!("data: a\n\ndata: {}\nid: 1\ndata: y\n\ndata: b\n\n", "x".repeat(100));
    for size in [1, 7, 1000] {
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(size).collect();
        let (out, seen) = run(&pieces, 50, "new");
        assert_eq!(out, "data: a\n\ndata: list_too_large\n\ndata: b\n\n");
        assert_eq!(seen, ["a", "b"]);
    }
    let exact = "data: 3456\n\n";
    assert_eq!(run(&[exact.as_bytes()], exact.len(), "").0, exact);
    assert_eq!(run(&[exact.as_bytes()], exact.len() - 1, "").0, "data: list_too_large\n\n");
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"x"}]}}"#;

/// What goes on of each piece of a watched stream, where lists become `new`.
fn watched(pieces: &[&str], limit: usize, room: usize) -> Vec<String> {
    let mut events = Events::watched(limit);
    let mut judge = |_: &[u8], fault: Option<Reason>| {
        Verdict::Replace(fault.map_or("new", |reason| reason.code()).as_bytes().to_vec())
    };
    let mut out: Vec<Vec<u8>> =
        pieces.iter().map(|piece| events.push(piece.as_bytes(), room, &mut judge)).collect();
    out.push(events.finish(&mut judge));
    out.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

/// What is no list is not held: neither for its end, nor for its size, nor for what it looks like.
#[test]
fn of_a_watched_stream_only_lists_are_looked_at() {
    let call = r#"{"jsonrpc":"2.0","id":1,"result":{"content":["#;
    let long = format!(r#"data: {{"result":{{"_meta":"{}"#, "m".repeat(BEGINNING));
    let pieces = [
        "id: 1\ndata: ",
        call,
        "1",
        "]}}\n\n: hi\n",
        "Data: x\n\ndata: {\"method\":",
        "1}\n",
        "\n",
        &long,
        "\"}}\n\n",
        "data: [",
        "]\n\ndata: no\n\n",
    ];
    let shown = [
        "",
        &format!("id: 1\ndata: {call}"),
        "1",
        "]}}\n\n: hi\n",
        "Data: x\n\ndata: {\"method\":",
        "1}\n",
        "\n",
        &long,
        "\"}}\n\n",
        "data: [",
        "]\n\ndata: no\n\n",
        "",
    ];
    assert_eq!(watched(&pieces, 100, 100), shown);
    let list = format!("id: 1\ndata: {LIST}\nretry: 5\n\n");
    for cut in 0..list.len() {
        let (first, second) = list.split_at(cut);
        let other = format!("data: {call}]}}}}\n\n");
        let out = watched(&[&other, first, second, &other], 1000, 1000).concat();
        assert_eq!(out, format!("{other}id: 1\ndata: new\nretry: 5\n\n{other}"), "{cut}");
    }
    for (limit, room, code) in [(50, 1000, "list_too_large"), (1000, 50, "overloaded")] {
        assert_eq!(
            watched(&[&list, "data: 1\n\n"], limit, room).concat(),
            format!("data: {code}\n\ndata: 1\n\n")
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Wherever a stream is cut, what goes on is the same; and without a list it is what came.
    #[test]
    fn cuts_don_t_matter(
        stream in proptest::collection::vec("(data|data: ?|id: |:|Data: |)[abx]{0,3}(\r\n|\n|\r)", 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = stream.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len().saturating_add(1))).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for place in places.into_iter().chain([stream.len()]) {
            pieces.push(&stream.as_bytes()[at..place]);
            at = place;
        }
        let in_pieces = run(&pieces, 1000, "new");
        prop_assert_eq!(&in_pieces, &whole(&stream));
        if !stream.contains('x') && !stream.contains("Data") {
            prop_assert_eq!(in_pieces.0, stream);
        } else if !stream.contains("Data") {
            prop_assert!(!whole(&in_pieces.0).1.iter().any(|data| data.contains('x')));
        }
    }
}

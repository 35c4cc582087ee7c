//! A whole document as a value: for tokens, key sets and answers of callouts, which are small.

use super::reader::{Error, Kind, Reader};
use serde_json::Number;
pub use serde_json::{Map, Value};

/// Parses a whole text with the strictness of [`Reader`] in every object.
///
/// A number that is no 64-bit integer becomes a float; one too large for that is refused.
///
/// # Errors
/// As [`Reader`].
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let value = value(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn value(reader: &mut Reader<'_>) -> Result<Value, Error> {
    Ok(match reader.kind()? {
        Kind::Object => {
            let mut members = Map::new();
            reader.object(|reader, name| {
                members.insert(name.into_owned(), value(reader)?);
                Ok::<_, Error>(())
            })?;
            Value::Object(members)
        }
        Kind::Array => {
            let mut elements = Vec::new();
            reader.array(|reader| {
                elements.push(value(reader)?);
                Ok::<_, Error>(())
            })?;
            Value::Array(elements)
        }
        Kind::String => Value::String(reader.string()?.into_owned()),
        Kind::Number => {
            let number: Number = serde_json::from_str(reader.number()?).map_err(|_| Error::Syntax)?;
            Value::Number(number)
        }
        Kind::Bool => Value::Bool(reader.bool()?),
        Kind::Null => {
            reader.skip()?;
            Value::Null
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_a_lenient_parser_takes() {
        let cases: &[(&[u8], Error)] = &[
            (b"", Error::Syntax),
            (b"\xef\xbb\xbf{}", Error::Syntax),
            (b"{} {}", Error::Syntax),
            (b"{}\0", Error::Syntax),
            (b"[1,]", Error::Syntax),
            (b"{\"a\":1,}", Error::Syntax),
            (b"{a:1}", Error::Syntax),
            (b"{'a':1}", Error::Syntax),
            (b"NaN", Error::Syntax),
            (b"[Infinity]", Error::Syntax),
            (b"01", Error::Syntax),
            (b"+1", Error::Syntax),
            (b"1.", Error::Syntax),
            (b".5", Error::Syntax),
            (b"1e", Error::Syntax),
            (b"0x10", Error::Syntax),
            (b"-", Error::Syntax),
            (b"tru", Error::Syntax),
            (b"True", Error::Syntax),
            (b"\"a", Error::Syntax),
            (b"\"\x01\"", Error::Syntax),
            (b"\"\\x41\"", Error::Syntax),
            (b"\"\\ud800\"", Error::Syntax),
            (b"\"\\ud800\\u0041\"", Error::Syntax),
            (b"\"\\udc00\"", Error::Syntax),
            (b"\"\\u12\"", Error::Syntax),
            (b"\"\xff\"", Error::Syntax),
            (b"/* */ 1", Error::Syntax),
            (b"\x0c1", Error::Syntax),
            (b"1e999", Error::Syntax),
            (br#"{"a":1,"a":2}"#, Error::DuplicateKey),
            (br#"{"a":1,"\u0061":2}"#, Error::DuplicateKey),
            (br#"{"a":1,"A":2}"#, Error::DuplicateKey),
            (br#"{"a":1,"a\u0000":2}"#, Error::DuplicateKey),
            (br#"{"x":{"b":{"s":1,"\u017f":2}}}"#, Error::DuplicateKey),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(*error), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn finds_a_duplicate_among_many() {
        let mut text: String = (0..200).map(|i| format!("\"k{i}\":0,")).collect();
        text = format!("{{{text}\"K150\":1}}");
        assert_eq!(parse(text.as_bytes()), Err(Error::DuplicateKey));
    }

    #[test]
    fn bounds_the_members_of_an_object_that_is_visited() {
        let object = |members: usize| {
            format!("{{{}}}", (0..members).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(","))
        };
        assert!(parse(object(1024).as_bytes()).is_ok());
        assert_eq!(parse(object(1025).as_bytes()), Err(Error::TooManyMembers));
        assert!(Reader::new(object(10_000).as_bytes()).skip().is_ok());
    }

    #[test]
    fn bounds_the_depth_of_what_is_read_and_of_what_is_skipped() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(64).as_bytes()).is_ok());
        assert_eq!(parse(nested(65).as_bytes()), Err(Error::TooDeep));
        assert!(Reader::new(nested(64).as_bytes()).skip().is_ok());
        assert_eq!(Reader::new(nested(400_000).as_bytes()).skip(), Err(Error::TooDeep));
        assert_eq!(Reader::new("{\"a\":".repeat(65).as_bytes()).skip(), Err(Error::TooDeep));
    }

    #[test]
    fn resolves_escapes() {
        let value = parse(br#"{"n\u0061me":"\ud83d\ude00\n\/"}"#).unwrap();
        assert_eq!(value, serde_json::json!({"name": "\u{1f600}\n/"}));
    }

    #[test]
    fn what_is_skipped_is_utf_8_as_well() {
        let wrong: [&[u8]; 7] =
            [b"\xff", b"\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x82"];
        let right: [&[u8]; 3] = ["é".as_bytes(), "\u{1f600}".as_bytes(), b"\\u00e9"];
        for (piece, is_right) in wrong.map(|piece| (piece, false)).into_iter().chain(right.map(|p| (p, true)))
        {
            for length in [0, 1, 15, 16, 63, 64, 65, 130, 300] {
                for front in [0, length / 2, length] {
                    let mut text = vec![b'a'; length];
                    text.splice(front..front, piece.iter().copied());
                    let text = [b"[\"\\n", &text[..], b"\",{\"", &text[..], b"\":1}]"].concat();
                    let mut reader = Reader::new(&text);
                    assert_eq!(reader.skip().is_ok(), is_right, "{piece:?} {length} {front}");
                    assert_eq!(parse(&text).is_ok(), is_right, "{piece:?} {length} {front}");
                }
            }
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("[a-z]{0,5}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_texts(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(&text).unwrap()));
            let mut reader = Reader::new(text.as_bytes());
            prop_assert_eq!(reader.raw(), Ok(text.as_bytes()));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn accepts_nothing_that_serde_json_refuses(value in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = serde_json::to_vec(&value).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            if parse(&text).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
            }
            let mut reader = Reader::new(&text);
            if reader.skip().and_then(|()| reader.end()).is_ok() {
                // A number out of range is grammar all the same.
                let ok = serde_json::from_slice::<Value>(&text).map_or_else(|e| e.to_string().contains("out of range"), |_| true);
                prop_assert!(ok);
            }
        }

        #[test]
        fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
        }
    }
}

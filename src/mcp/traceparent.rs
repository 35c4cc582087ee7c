//! The trace that a request belongs to (W3C Trace Context, section 3.2), as a header or as a member of `_meta`. It is
//! passed on as it came and says nothing to the gate; what is not of its form is not recorded.

/// How long one of version 00 is, in bytes.
const LENGTH: usize = 55;

/// `text`, where it is a `traceparent` of a version that is read as 00 is: `00-<trace id>-<parent id>-<flags>`, lower
/// case, with ids that are not zero.
#[must_use]
pub fn traceparent(text: &str) -> Option<&str> {
    if text.len() != LENGTH {
        return None;
    }
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let mut parts = text.split('-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let has_form = [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2]
        && [version, trace, parent, flags].into_iter().all(is_hex);
    (has_form && version != "ff" && !is_zero(trace) && !is_zero(parent)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(good), Some(good));
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b\"-01",
            "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkYW5hIn0.c2lnbmF",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }
}

//! Bytes, many at a time.

/// How many bytes at the front of `bytes` are all such as `is_one` says.
#[inline]
pub(crate) fn leading(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    // Most texts end soon.
    match bytes.first_chunk::<16>().map(|chunk| others(chunk, &is_one)) {
        Some(0) => long(bytes, is_one),
        Some(found) => (found.trailing_zeros() / 8) as usize,
        None => bytes.iter().take_while(|b| is_one(**b)).count(),
    }
}

/// A byte that is not 0 for each that is not such as `is_one` says.
#[inline]
fn others(chunk: &[u8; 16], is_one: impl Fn(u8) -> bool) -> u128 {
    // In this form the compiler makes vector operations of it, where an early way out, or a fold, makes it take each
    // byte by itself; `make instructions` shows that.
    let mut others = [0_u8; 16];
    for (other, b) in others.iter_mut().zip(chunk) {
        *other = u8::from(!is_one(*b));
    }
    u128::from_le_bytes(others)
}

/// As [`leading`]; of a long text sixty-four bytes are looked at before each decision.
#[inline(never)]
fn long(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    let (near, far) = bytes.split_at(bytes.len().min(64));
    let found = by_sixteen(near, &is_one);
    if found < near.len() || far.is_empty() {
        return found;
    }
    let mut ones = 0_usize;
    for block in far.as_chunks::<64>().0 {
        let mut found = [0_u8; 16];
        for chunk in block.as_chunks::<16>().0 {
            for (found, b) in found.iter_mut().zip(chunk) {
                *found |= u8::from(!is_one(*b));
            }
        }
        if u128::from_le_bytes(found) != 0 {
            break;
        }
        ones = ones.wrapping_add(64);
    }
    let rest = far.get(ones..).unwrap_or_default();
    found.wrapping_add(ones).wrapping_add(by_sixteen(rest, &is_one))
}

#[inline]
fn by_sixteen(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let mut ones = 0_usize;
    for chunk in chunks {
        let found = others(chunk, &is_one);
        if found != 0 {
            return ones.wrapping_add((found.trailing_zeros() / 8) as usize);
        }
        ones = ones.wrapping_add(16);
    }
    ones.wrapping_add(rest.iter().take_while(|b| is_one(**b)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_to_the_first_other_byte() {
        for length in 0..200 {
            for at in 0..=length {
                let mut bytes = vec![b'a'; length];
                bytes.iter_mut().skip(at).step_by(3).for_each(|b| *b = b'"');
                assert_eq!(leading(&bytes, |b| b == b'a'), at, "{length}");
            }
        }
    }
}

//! Bytes, sixteen at a time.

/// How many bytes at the front of `bytes` are all such as `is_one` says.
#[inline]
pub(crate) fn leading(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> usize {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let mut found = 0_usize;
    for chunk in chunks {
        // In this form the compiler makes vector operations of it, where an early way out, or a fold, makes it take each
        // byte by itself; `make instructions` shows that.
        let mut others = [0_u8; 16];
        for (other, b) in others.iter_mut().zip(chunk) {
            *other = u8::from(!is_one(*b));
        }
        let others = u128::from_le_bytes(others);
        if others != 0 {
            return found.wrapping_add((others.trailing_zeros() / 8) as usize);
        }
        found = found.wrapping_add(16);
    }
    found.wrapping_add(rest.iter().take_while(|b| is_one(**b)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_to_the_first_other_byte() {
        for length in 0..70 {
            for at in 0..=length {
                let mut bytes = vec![b'a'; length];
                bytes.iter_mut().skip(at).step_by(3).for_each(|b| *b = b'"');
                assert_eq!(leading(&bytes, |b| b == b'a'), at, "{length}");
            }
        }
    }
}

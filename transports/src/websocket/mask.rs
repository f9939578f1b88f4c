//! Masking of payloads (RFC 6455, section 5.3).

/// A masking key, rotated so that its first byte is the next to use.
pub(super) type Mask = [u8; 4];

const WORD: usize = size_of::<u64>();

/// Masks or unmasks `bytes`. Returns the key for the bytes that follow them.
pub(super) fn apply(bytes: &mut [u8], mask: Mask) -> Mask {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // The compiler turns this loop into vector instructions.
    let (words, rest) = bytes.as_chunks_mut::<WORD>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
    let mut next = mask;
    next.rotate_left(bytes.len() % mask.len());
    next
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn any_length_and_split_equals_the_bytewise_mask() {
        let key = [1, 0x22, 0xff, 0x80];
        let plain: Vec<u8> = (0..=99).collect();
        let expected: Vec<u8> = plain
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4])
            .collect();
        for from in 0..plain.len() {
            for to in from..=plain.len() {
                let mut masked = plain.clone();
                let key = apply(&mut masked[..from], key);
                let key = apply(&mut masked[from..to], key);
                apply(&mut masked[to..], key);
                assert_eq!(masked, expected, "{from} {to}");
            }
        }
    }
}

//! How entries lie in a file of the flight recorder: a line each, opened by a checksum and a length.
//!
//! `CHECKSUM LENGTH PAYLOAD`: eight hexadecimal digits (CRC-32 of the payload), a decimal number, that many bytes. A person
//! can read it with `less`. Reading ends at the first line that is not whole: what a killed writer or a bad disk left yields
//! the entries before it and never an error. It touches no file.

/// The longest payload: a stamp within a pod's 256 KiB of annotations, escaped, and the rest of an entry.
pub(crate) const LONGEST: usize = 1 << 20;

/// A payload as it lies in a file; none if it is too long.
pub(crate) fn line(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() > LONGEST {
        return None;
    }
    let mut line = format!("{:08x} {} ", crc32(payload), payload.len()).into_bytes();
    line.extend_from_slice(payload);
    line.push(b'\n');
    Some(line)
}

/// The payloads of a file from its beginning on, and how many of its bytes they take.
pub(crate) fn read(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut payloads = Vec::new();
    let mut rest = bytes;
    while let Some((payload, after)) = first(rest) {
        payloads.push(payload);
        rest = after;
    }
    (payloads, bytes.len() - rest.len())
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (checksum, bytes) = word(bytes, 8)?;
    let (length, bytes) = word(bytes, 7)?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    let length: usize = length.parse().ok().filter(|length| *length <= LONGEST)?;
    let (payload, after) = bytes.split_at_checked(length)?;
    let after = after.strip_prefix(b"\n")?;
    (crc32(payload) == checksum).then_some((payload, after))
}

/// A word of at most so many digits, and what comes after its space.
fn word(bytes: &[u8], longest: usize) -> Option<(&str, &[u8])> {
    let end = bytes.iter().take(longest + 1).position(|byte| *byte == b' ')?;
    let word = std::str::from_utf8(&bytes[..end]).ok()?;
    // Rust's own reader of numbers would take a sign.
    word.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((word, &bytes[end + 1..]))
}

/// CRC-32 as of Ethernet (IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

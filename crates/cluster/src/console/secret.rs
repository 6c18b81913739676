//! Secrets of this process: drawn of the kernel, and compared so that the time it takes tells nothing.

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write;

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && differing == 0
}

/// 256 bits that nobody guesses.
pub(crate) fn secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let count =
        getrandom(&mut bytes[..], GetRandomFlags::empty()).context("ask the kernel for randomness")?;
    anyhow::ensure!(count == bytes.len(), "ask the kernel for randomness: it gave {count} bytes of 32");
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_only_the_same_is_the_same() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert!(one.len() == 64 && is_same(&one, &one) && !is_same(&one, &other));
        assert!(!is_same(&one, &one[1..]) && !is_same(&one, "") && is_same("", ""));
    }
}

//! What a Linux program needs of the machine that it runs on: the libraries it names and the newest glibc it asks for.
use anyhow::{Context, Result, ensure};

/// A dynamic entry that names a library.
const DT_NEEDED: u64 = 1;
/// A section of dynamic entries.
const SHT_DYNAMIC: u32 = 6;
/// Bytes of a section's header, and of a dynamic entry, in a 64-bit file.
const SECTION_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

fn number<const N: usize>(program: &[u8], at: usize) -> Result<u64> {
    let bytes = at.checked_add(N).and_then(|end| program.get(at..end)).context("the program's tables end early")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn place<const N: usize>(program: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(number::<N>(program, at)?)?)
}

/// The libraries that a 64-bit little-endian program names.
pub(crate) fn libraries(program: &[u8]) -> Result<Vec<String>> {
    ensure!(program.starts_with(b"\x7fELF\x02\x01"), "this is no 64-bit program for Linux");
    let (table, count) = (place::<8>(program, 0x28)?, place::<2>(program, 0x3c)?);
    let mut found = Vec::new();
    for section in (0..count).map(|index| table + index * SECTION_BYTES) {
        if number::<4>(program, section + 4)? != u64::from(SHT_DYNAMIC) {
            continue;
        }
        let (at, bytes, link) = (place::<8>(program, section + 24)?, place::<8>(program, section + 32)?, place::<4>(program, section + 40)?);
        let names = place::<8>(program, table + link * SECTION_BYTES + 24)?;
        for entry in (0..bytes / ENTRY_BYTES).map(|index| at + index * ENTRY_BYTES) {
            if number::<8>(program, entry)? == DT_NEEDED {
                let name = program.get(names + place::<8>(program, entry + 8)?..).context("a library's name is outside of the program")?;
                found.push(String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned());
            }
        }
    }
    Ok(found)
}

/// The newest symbol version of glibc that a program needs, read from its names.
pub(crate) fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const WORD: &[u8] = b"GLIBC_";
    let starts = program.windows(WORD.len()).enumerate().filter(|(_, window)| *window == WORD).map(|(at, _)| at + WORD.len());
    let version = |at: usize| {
        let text: String = program.get(at..)?.iter().map(|byte| char::from(*byte)).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts = text.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    starts.filter_map(version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0"), Some((2, 34)));
        assert_eq!(newest_glibc(b"nothing"), None);
    }

    #[test]
    fn this_program_names_its_libraries() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(libraries(&own).unwrap().iter().any(|name| name == "libc.so.6"));
        assert!(libraries(b"#!/bin/sh").is_err());
        assert!(libraries(&own[..4096]).is_err(), "a part of it is told, not read past its end");
    }
}
